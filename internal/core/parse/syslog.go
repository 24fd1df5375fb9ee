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

// maxHeader is the longest header, with structured data. The library takes quadratic time for escapes in structured data. RFC 5424
// §6.1 asks receivers to accept messages of 2 KiB.
const maxHeader = 16 << 10

// syslogParser uses github.com/leodido/go-syslog, as Telegraf and the OpenTelemetry Collector do. It is maintained, has the MIT
// licence and knows both RFCs. Its state machines read a line once.
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

// syslogLine holds the fields of a line. A field that the line does not have is empty.
type syslogLine struct {
	*syslog.Base
	timestamp, message []byte // slices of the line
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

// appendStructuredData appends the elements and their parameters, sorted by name.
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

// parse parses a line of RFC 5424 or RFC 3164. It reports false for any other line.
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
	if err != nil || !ok { // a line that ends before its message gives nil without an error
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
	l.message = bytes.TrimPrefix(l.message, []byte("\uFEFF")) // the mark that UTF-8 follows (§6.4)
	return true
}

// parseBSD parses a line of RFC 3164. rest begins with its timestamp.
func (m *syslogMachines) parseBSD(line, rest []byte, l *syslogLine) bool {
	// The library drops a message with control characters, such as terminal colors.
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
			return false // a control character, which only a message may have (RFC 3164 §4.1)
		}
	}
	return true
}

// mendTag corrects tag and message. If no space follows a tag and its colon, the library has made the tag, or the text after its
// bracket, a part of the message.
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
		l.message = line[len(before)-len("[")-len(tag):] // it was not a tag
		l.Appname, l.ProcID = nil, nil
	case !bytes.HasSuffix(before, []byte(": ")):
		l.message = bytes.TrimPrefix(l.message, append(tag, ':'))
	}
}

// messageOf returns the message, which extends to the end of the line. The library has seen only the beginning of the line, and so
// of the message.
func messageOf(line, header []byte, message *string) (text []byte, ok bool) {
	if message == nil {
		return nil, len(header) == len(line)
	}
	return line[len(header)-len(*message):], strings.HasSuffix(string(header), *message)
}

// bsdTimestamp returns the timestamp at the beginning of rest. It is one of RFC 3164, which has spaces, or of RFC 3339.
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
