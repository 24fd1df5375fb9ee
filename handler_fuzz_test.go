package sse_test

import (
	"bytes"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	sse "github.com/seed-4dedbcea/caddy-sse"
	"github.com/seed-4dedbcea/caddy-sse/eventstream"
	"github.com/seed-4dedbcea/caddy-sse/internal/caddykit/metrics"
	"github.com/seed-4dedbcea/caddy-sse/internal/core/frame"
	"github.com/seed-4dedbcea/caddy-sse/internal/core/mapping"
	"github.com/seed-4dedbcea/caddy-sse/internal/core/records"
	"github.com/seed-4dedbcea/caddy-sse/internal/engine/upstream"
	"github.com/seed-4dedbcea/caddy-sse/internal/ssetest"
)

// collector is a consumer that keeps frames, and what the mapping says that each should hold.
type collector struct {
	t      *testing.T
	mapper *mapping.Mapper
	meters *metrics.Meters
	data   *mapping.Template
	event  *mapping.Template // nil: none
	id     *mapping.Template // nil: none
	seq    uint64
	frames []byte
	want   []ssetest.Event
	lastID string
	twice  mapping.Document

	retries bool // the upstream has set a reconnection time
}

func (c *collector) Begin()                  {}
func (c *collector) Counts() *metrics.Meters { return c.meters }
func (c *collector) Skipped(string)          { c.seq++ }
func (c *collector) Blank()                  { c.frames = append(c.frames, eventstream.Comment...) }
func (c *collector) Retry(ms int64) {
	c.frames, c.retries = eventstream.AppendRetry(c.frames, time.Duration(ms)*time.Millisecond), true
}
func (c *collector) Position([]byte) {}
func (c *collector) Gap(string)      {}
func (c *collector) Commit() error   { return nil }
func (c *collector) text(template *mapping.Template, rec *records.Record) []byte {
	c.twice.Reset(rec.Text, rec.Seq)
	return template.Append(nil, &c.twice)
}

func (c *collector) Record(rec *records.Record) error {
	c.seq++
	rec.Seq = c.seq
	before := len(c.frames)
	var r mapping.Result
	c.frames, r = c.mapper.Append(c.frames, rec, nil)
	if r.Outcome != mapping.Sent {
		if len(c.frames) != before {
			c.t.Errorf("a record that is not sent leaves %q", c.frames[before:])
		}
		return nil
	}
	id, name := rec.ID, rec.Event
	if c.id != nil {
		id = c.text(c.id, rec)
	}
	if c.event != nil {
		name = c.text(c.event, rec)
	}
	event := ssetest.Event{Type: "message", Data: clientLines(string(c.text(c.data, rec)))}
	resets := c.id == nil && rec.ID != nil && len(rec.ID) == 0
	if resets || comesBack(string(id)) {
		event.HasID, c.lastID = true, string(id)
	}
	event.ID = c.lastID
	if ours := []string{frame.TypeError, frame.TypeGap}; len(name) > 0 && !bytes.ContainsAny(name, "\r\n") && !slices.Contains(ours, string(name)) {
		event.Type = string(name)
	}
	c.want = append(c.want, event)
	return nil
}

// comesBack reports whether a client can send the id back as a header's value.
func comesBack(id string) bool {
	return id != "" && len(id) <= 8<<10 && id != eventstream.EndID && strings.TrimSpace(id) == id && !strings.ContainsFunc(id, unicode.IsControl)
}

// clientLines is data as a client has it, whose lines all end in LF.
func clientLines(data string) string {
	return strings.ReplaceAll(strings.ReplaceAll(data, "\r\n", "\n"), "\r", "\n")
}

// FuzzEncoding checks that a reader of event streams gets one event for each record that is to be sent, with the data,
// type and id that the mapping gives it, and nothing else, whatever an upstream sends.
func FuzzEncoding(f *testing.F) {
	for format := range byte(6) {
		f.Add([]byte("{\"a\":\"x\\ny\",\"b\":\"z\"}\n\n[1,2]\r\nnot json\rid: 1\n\x1e{\"a\":1}\n"), format, "{record.a}{seq}", "{record.b}", "{record.a}", "", byte(0))
		f.Add([]byte("id: 1\nevent: e\ndata: {\"a\":null}\n\ndata\n\n"), format, "{record}", "", "", "record.a == null", byte(1))
		f.Add([]byte("\ufeff\xff\x00 {\"a\":\"\\u0000\"}\n"), format, "{record}\r\ndata:", "{record}", "{record}", "seq > 0", byte(2))
	}
	f.Fuzz(func(t *testing.T, said []byte, format byte, data, event, id, where string, policies byte) {
		if where != "" {
			where = "record.a != 'x'" // compiling any expression is the business of the mapping's own tests
		}
		h := &sse.Handler{
			Format: records.Format(format % 6).String(), Data: &data, Event: event, ID: id, Where: where,
			OnInvalid: []string{string(mapping.Pass), string(mapping.Skip)}[policies&1], Oversize: []string{"skip", "truncate"}[policies>>1&1],
			MaxRecordSize: 1 << (policies >> 2 & 15),
		}
		for _, template := range []string{data, event, id} {
			if !utf8.ValidString(template) { // no config can hold it
				return
			}
		}
		m, config, err := sse.Engine(h)
		if err != nil {
			return
		}
		find := func(string) (string, bool) { return "v\n\r:", true }
		bound := func(text string) *mapping.Template {
			if text == "" {
				return nil
			}
			template, err := mapping.ParseTemplate(text)
			if err != nil {
				t.Fatal(err)
			}
			return template.Bind(find)
		}
		c := &collector{t: t, mapper: m.Bind(find), meters: config.Report.Meters, event: bound(event), id: bound(id)}
		if c.data = bound(data); c.data == nil {
			c.data = new(mapping.Template)
		}
		in := upstream.NewInput(c, config.Options("text/plain"), nil)
		cut := min(int(policies), len(said))
		for _, piece := range [][]byte{said[:cut], said[cut:]} {
			if _, err := in.Write(piece); err != nil {
				t.Fatal(err)
			}
		}
		if err := in.End(true); err != nil {
			t.Fatal(err)
		}
		var parser ssetest.Parser
		got := parser.Feed(c.frames)
		if len(got) != len(c.want) {
			t.Fatalf("%d events, want %d, from frames %q", len(got), len(c.want), c.frames)
		}
		for i := range got {
			if got[i] != c.want[i] {
				t.Errorf("event %d is %+v, want %+v, from frames %q", i, got[i], c.want[i], c.frames)
			}
		}
		if len(parser.Ignored) > 0 || parser.Pending() && !c.retries || parser.HasRetry && !c.retries {
			t.Errorf("frames %q hold more than events: ignored %q, pending %t", c.frames, parser.Ignored, parser.Pending())
		}
		for _, text := range parser.Comments {
			if text != "" {
				t.Errorf("the upstream has forged the comment %q", text)
			}
		}
		if !utf8.Valid(c.frames) {
			t.Errorf("frames %q are not UTF-8", c.frames)
		}
	})
}
