package parse

import (
	"bytes"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/leodido/go-syslog/v4"
	"github.com/leodido/go-syslog/v4/rfc3164"
	"github.com/leodido/go-syslog/v4/rfc5424"

	"github.com/seed-4dedbcea/caddy-sse/internal/core/jsonstring"
)

// maxHeader is how long all that stands before the message may be, structured data included. The library takes quadratic
// time for escapes in these; RFC 5424 §6.1 has receivers take messages of 2 KiB.
const maxHeader = 16 << 10

// syslogParser uses github.com/leodido/go-syslog: it is maintained and under the MIT licence, knows both RFCs, and its state
// machines go through a line once. It is what Telegraf and the OpenTelemetry Collector use.
type syslogParser struct {
	machines sync.Pool
}

type syslogMachines struct {
	ietf, bsd syslog.Machine
	header    []byte // scratch
}

func newSyslog() *syslogParser {
	p := new(syslogParser)
	p.machines.New = func() any {
		return &syslogMachines{
			ietf: rfc5424.NewMachine(),
			bsd:  rfc3164.NewMachine(rfc3164.WithRFC3339(), rfc3164.WithLenientDay(), rfc3164.WithSecondFractions()),
		}
	}
	return p
}

// syslogLine is what a line says. What it does not say is empty.
type syslogLine struct {
	*syslog.Base
	timestamp, message []byte // as they stand in the line
	data               map[string]map[string]string
}

func (p *syslogParser) appendObject(dst, line []byte) (out []byte, fits bool) {
	m := p.machines.Get().(*syslogMachines)
	defer p.machines.Put(m)
	var l syslogLine
	if fits = m.parse(line, &l); !fits {
		return dst, false
	}
	dst = append(dst, `{"facility":`...)
	dst = strconv.AppendUint(dst, uint64(*l.Facility), 10)
	dst = append(dst, `,"severity":`...)
	dst = strconv.AppendUint(dst, uint64(*l.Severity), 10)
	if len(l.timestamp) > 0 {
		dst = jsonstring.Append(append(dst, `,"timestamp":`...), l.timestamp)
	}
	for _, field := range [...]struct {
		member string
		value  *string
	}{{`,"hostname":`, l.Hostname}, {`,"appname":`, l.Appname}, {`,"procid":`, l.ProcID}, {`,"msgid":`, l.MsgID}} {
		if field.value != nil {
			dst = jsonstring.Append(append(dst, field.member...), *field.value)
		}
	}
	if len(l.data) > 0 {
		dst = appendStructuredData(append(dst, `,"structured_data":`...), l.data)
	}
	if len(l.message) > 0 {
		dst = jsonstring.Append(append(dst, `,"message":`...), l.message)
	}
	return append(dst, '}'), true
}

// appendStructuredData appends its elements and their parameters in the order of their names.
func appendStructuredData(dst []byte, data map[string]map[string]string) []byte {
	begin := byte('{')
	for _, id := range slices.Sorted(maps.Keys(data)) {
		dst = append(jsonstring.Append(append(dst, begin), id), ':', '{')
		for i, name := range slices.Sorted(maps.Keys(data[id])) {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = jsonstring.Append(append(jsonstring.Append(dst, name), ':'), data[id][name])
		}
		dst, begin = append(dst, '}'), ','
	}
	return append(dst, '}')
}

// parse is false for a line that is neither.
func (m *syslogMachines) parse(line []byte, l *syslogLine) bool {
	priority, rest, ok := bytes.Cut(line, []byte(">"))
	if !ok || !bytes.HasPrefix(priority, []byte("<")) {
		return false
	}
	if version, rest, ok := bytes.Cut(rest, []byte(" ")); ok && len(version) > 0 && len(version) <= 3 && isNumber(version) {
		return m.parseIETF(line, rest, l)
	}
	return m.parseBSD(line, rest, l)
}

// parseIETF parses a line of RFC 5424. rest begins with its timestamp.
func (m *syslogMachines) parseIETF(line, rest []byte, l *syslogLine) bool {
	header := line[:min(len(line), maxHeader)]
	parsed, err := m.ietf.Parse(header)
	message, ok := parsed.(*rfc5424.SyslogMessage)
	if err != nil || !ok { // it is nil, without an error, for a line that ends before its message
		return false
	}
	l.Base = &message.Base
	if message.StructuredData != nil {
		l.data = *message.StructuredData
	}
	if message.Timestamp != nil {
		l.timestamp, _, _ = bytes.Cut(rest, []byte(" "))
	}
	if l.message, ok = messageOf(line, header, message.Message); !ok {
		return false
	}
	l.message = bytes.TrimPrefix(l.message, []byte("\uFEFF")) // §6.4: it only says that UTF-8 follows
	return true
}

// parseBSD parses a line of RFC 3164. rest begins with its timestamp.
func (m *syslogMachines) parseBSD(line, rest []byte, l *syslogLine) bool {
	// The library forgets a message with control characters, such as the colors of a terminal.
	m.header = append(m.header[:0], line[:min(len(line), maxHeader)]...)
	for i, c := range m.header {
		if c < ' ' || c == 0x7f {
			m.header[i] = '\t'
		}
	}
	parsed, err := m.bsd.Parse(m.header)
	message, ok := parsed.(*rfc3164.SyslogMessage)
	if err != nil || !ok {
		return false
	}
	l.Base = &message.Base
	l.timestamp = bsdTimestamp(rest)
	if l.message, ok = messageOf(line, m.header, message.Message); !ok {
		return false
	}
	l.mendTag(line)
	for _, field := range []*string{l.Hostname, l.Appname, l.ProcID} {
		if field != nil && strings.Contains(*field, "\t") {
			return false // a control character, which RFC 3164 §4.1 has in a message only
		}
	}
	return true
}

// mendTag gives tag and message what is theirs. Where no blank follows a tag and its colon, the library has taken the tag,
// or what follows its bracket, for the message's beginning.
func (l *syslogLine) mendTag(line []byte) {
	if l.Appname == nil {
		return
	}
	before := line[:len(line)-len(l.message)]
	tag := []byte(*l.Appname)
	switch {
	case bytes.HasSuffix(before, []byte("[")):
		if _, message, ok := bytes.Cut(l.message, []byte("]:")); ok && l.ProcID != nil {
			l.message = message
			return
		}
		l.message = line[len(before)-len("[")-len(tag):] // no tag after all
		l.Appname, l.ProcID = nil, nil
	case !bytes.HasSuffix(before, []byte(": ")):
		l.message = bytes.TrimPrefix(l.message, append(tag, ':'))
	}
}

// messageOf returns the message as it stands in the line, whose end it is. The library has seen the beginning of the line
// and of the message only.
func messageOf(line, header []byte, message *string) (text []byte, ok bool) {
	if message == nil {
		return nil, len(header) == len(line)
	}
	return line[len(header)-len(*message):], strings.HasSuffix(string(header), *message)
}

// bsdTimestamp is the timestamp that rest begins with: one of RFC 3164, which has blanks in it, or of RFC 3339.
func bsdTimestamp(rest []byte) []byte {
	rest = bytes.TrimLeft(rest, " ")
	end := 0
	if len(rest) > len(time.Stamp) && (rest[0] < '0' || rest[0] > '9') {
		end = len(time.Stamp)
	}
	if n := bytes.IndexByte(rest[end:], ' '); n >= 0 {
		return rest[:end+n]
	}
	return rest
}

func isNumber(text []byte) bool {
	return bytes.IndexFunc(text, func(c rune) bool { return c < '0' || c > '9' }) < 0
}
