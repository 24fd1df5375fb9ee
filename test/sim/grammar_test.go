package sim_test

import (
	"bytes"
	"fmt"
	"strings"
)

// grammar checks an event stream more strictly than a browser does: it accepts only what this server must send. The events are parsed
// by ssetest.Parser.
type grammar struct {
	line   []byte
	stage  int    // how far the fields of the block are
	blank  string // the name of the last line, to know whether a blank line may follow
	opened bool   // the comment at the beginning has come
	tail   []byte // the last bytes, for a report
}

const (
	atStart = iota
	afterID
	afterEvent
	afterData
)

// feed takes the stream's next bytes.
func (g *grammar) feed(p []byte) error {
	g.tail = append(g.tail, p...)
	if extra := len(g.tail) - 3000; extra > 3000 {
		g.tail = append(g.tail[:0], g.tail[extra:]...)
	}
	for len(p) > 0 {
		end := bytes.IndexByte(p, '\n')
		if end < 0 {
			g.line = append(g.line, p...)
			return nil
		}
		g.line = append(g.line, p[:end]...)
		p = p[end+1:]
		line := string(g.line)
		g.line = g.line[:0]
		if err := g.take(line); err != nil {
			return fmt.Errorf("line %.200q: %w", line, err)
		}
	}
	return nil
}

// inside reports whether the stream is within a line or a block.
func (g *grammar) inside() bool {
	return len(g.line) > 0 || g.stage != atStart
}

func (g *grammar) take(line string) error {
	if strings.ContainsAny(line, "\r\x00") {
		return fmt.Errorf("a CR or NUL")
	}
	name, value, isField := strings.Cut(line, ":")
	if isField && value != "" && value[0] != ' ' {
		return fmt.Errorf("a field without a space after its colon")
	}
	need := func(stage int) error {
		if g.stage > stage || g.stage == stage && stage != afterData {
			return fmt.Errorf("%s does not belong here, after stage %d", name, g.stage)
		}
		g.stage, g.blank = stage, name
		return nil
	}
	switch {
	case line == "":
		defer func() { g.stage, g.blank = atStart, "" }()
		return g.end()
	case !isField:
		return fmt.Errorf("a field without a colon")
	case name == "": // a comment
		if g.stage != atStart {
			return fmt.Errorf("a comment within an event")
		}
		if value != "" {
			return fmt.Errorf("a comment with text")
		}
		g.blank, g.opened = "comment", true
	case name == "retry":
		if g.stage != atStart || value == "" || strings.Trim(value[1:], "0123456789") != "" {
			return fmt.Errorf("a retry within an event, or that is no number")
		}
		g.blank = "retry"
	case name == "id":
		return need(afterID)
	case name == "event":
		return need(afterEvent)
	case name == "data":
		return need(afterData)
	default:
		return fmt.Errorf("an unknown field")
	}
	return nil
}

// end checks a blank line.
func (g *grammar) end() error {
	switch g.stage {
	case afterEvent:
		return fmt.Errorf("an event without data")
	case atStart:
		if g.blank != "retry" || !g.opened { // the last retry in a drain
			return fmt.Errorf("a blank line that ends nothing")
		}
	}
	return nil
}
