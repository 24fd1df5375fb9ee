package ssetest

import (
	"slices"
	"strings"
	"testing"
	"time"
)

func message(data string) Event { return Event{Type: "message", Data: data} }

// The cases named wpt are those of web-platform-tests, eventsource/.
func TestParserFollowsTheStandard(t *testing.T) {
	for _, test := range []struct {
		name   string
		stream string
		want   []Event
	}{
		{"nothing", "", nil},
		{"wpt format-bom", "\uFEFFdata:1\n\n\uFEFFdata:2\n\ndata:3\n\n", []Event{message("1"), message("3")}},
		{"wpt format-bom-2", "\uFEFF\uFEFFdata:1\n\ndata:2\n\ndata:3\n\n", []Event{message("2"), message("3")}},
		{"wpt format-comments",
			"data:1\n:\x00\n:\r\ndata:2\n:" + strings.Repeat("x", 2048) + "\rdata:3\n:data:fail\r:" + strings.Repeat("x", 2048) + "\ndata:4\n\n",
			[]Event{message("1\n2\n3\n4")}},
		{"wpt format-data-before-final-empty-line", "retry:1000\ndata:test1\n\nid:test\ndata:test2", []Event{message("test1")}},
		{"wpt format-field-data", "data:\n\ndata\ndata\n\ndata:test\n\n", []Event{message(""), message("\n"), message("test")}},
		{"wpt format-field-event", "event:test\ndata:x\n\ndata:x\n\n", []Event{{Type: "test", Data: "x"}, message("x")}},
		{"wpt format-field-event-empty", "event: \ndata:data\n\n", []Event{message("data")}},
		{"wpt format-field-id-null", "id: \x00a\ndata:x\n\nid:a\x00\ndata:y\n\n", []Event{message("x"), message("y")}},
		{"wpt format-field-parsing", "data:\x00\ndata:  2\rData:1\ndata\x00:2\ndata:1\r\x00data:4\nda-ta:3\rdata_5\ndata:3\rdata:\r\n data:32\ndata:4\n\n",
			[]Event{message("\x00\n 2\n1\n3\n\n4")}},
		{"wpt format-field-unknown", "data:test\n data\ndata\nfoobar:xxx\njustsometext\n:thisisacommentyay\ndata:test\n\n", []Event{message("test\n\ntest")}},
		{"wpt format-leading-space", "data:\ttest\rdata: \ndata:test\n\n", []Event{message("\ttest\n\ntest")}},
		{"wpt format-newlines", "data:test\r\ndata\ndata:test\r\n\r", []Event{message("test\n\ntest")}},
		{"wpt format-null-character", "data:\x00\n\n\n\n", []Event{message("\x00")}},
		{"wpt format-utf-8", "data:ok…\n\n", []Event{message("ok…")}},
		{"CR CR", "data:a\r\rdata:b\r\r", []Event{message("a"), message("b")}},
		{"CRLF CRLF", "data:a\r\n\r\ndata:b\r\n\r\n", []Event{message("a"), message("b")}},
		{"LF CR is two line ends", "data:a\n\rdata:b\n\r", []Event{message("a"), message("b")}},
		{"one space removed, not two", "data:  a \n\n", []Event{message(" a ")}},
		{"an id stays", "id:7\ndata:a\n\ndata:b\n\n", []Event{{ID: "7", Type: "message", Data: "a", HasID: true}, {ID: "7", Type: "message", Data: "b"}}},
		{"an id-only block counts for the next event", "id:7\n\ndata:b\n\n", []Event{{ID: "7", Type: "message", Data: "b"}}},
		{"an empty id resets", "id:7\ndata:a\n\nid\ndata:b\n\n", []Event{{ID: "7", Type: "message", Data: "a", HasID: true}, {Type: "message", Data: "b", HasID: true}}},
		{"an event name does not outlive a block without data", "event:x\n\ndata:a\n\n", []Event{message("a")}},
		{"the last of two names and ids counts", "event:x\nevent:y\nid:1\nid:2\ndata:a\n\n", []Event{{ID: "2", Type: "y", Data: "a", HasID: true}}},
		{"not UTF-8", "data:a\xffb\xe2\x82c\n\n", []Event{message("a\uFFFDb\uFFFDc")}},
		{"U+2028 ends no line", "data:a\u2028data:b\n\n", []Event{message("a\u2028data:b")}},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := ParseAll([]byte(test.stream)); !slices.Equal(got, test.want) {
				t.Errorf("at once:\n got %+v\nwant %+v", got, test.want)
			}
			var p Parser
			var got []Event
			for i := range len(test.stream) {
				got = append(got, p.Feed([]byte(test.stream[i:i+1]))...)
			}
			if !slices.Equal(got, test.want) {
				t.Errorf("byte by byte:\n got %+v\nwant %+v", got, test.want)
			}
		})
	}
}

func TestParserDispatchesOnCRWithoutWaitingForLF(t *testing.T) {
	var p Parser
	if got := p.Feed([]byte("data:a\r\r")); len(got) != 1 {
		t.Fatalf("got %v, want the event before the byte that follows", got)
	}
	if got := p.Feed([]byte("\ndata:b\n\n")); !slices.Equal(got, []Event{message("b")}) {
		t.Fatalf("got %v, want b", got)
	}
}

func TestParserRetryTakesDigitsOnly(t *testing.T) {
	for value, want := range map[string]time.Duration{
		"3000": 3 * time.Second, " 3000": 3 * time.Second, "03000": 3 * time.Second, "0": 0,
		"": -1, "3000x": -1, "-1": -1, "+1": -1, "1.5": -1, "  1": -1, "1 ": -1, "٣": -1, "99999999999999999999": -1, "9223372036854775807": -1,
	} {
		var p Parser
		p.Feed([]byte("retry:" + value + "\n"))
		if p.HasRetry != (want >= 0) || want >= 0 && p.Retry != want {
			t.Errorf("retry:%q: got %v %v, want %v", value, p.Retry, p.HasRetry, want)
		}
		if p.HasRetry == (len(p.Ignored) > 0) {
			t.Errorf("retry:%q: ignored lines %q", value, p.Ignored)
		}
	}
}

func TestParserKeepsWhatEventsDoNotShow(t *testing.T) {
	var p Parser
	p.Feed([]byte(": ok\n:  two\n\nid:1\n\nid:2\n"))
	if want := []string{"ok", " two"}; !slices.Equal(p.Comments, want) {
		t.Errorf("comments %q, want %q", p.Comments, want)
	}
	if p.LastEventID != "1" || !p.Pending() {
		t.Errorf("last event id %q, pending %v: want 1, and the block of 2 pending", p.LastEventID, p.Pending())
	}
	p.Feed([]byte("\nnoise\nid:x\x00\n"))
	if want := []string{"noise", "id:x\x00"}; p.LastEventID != "2" || !slices.Equal(p.Ignored, want) {
		t.Errorf("last event id %q, ignored %q: want 2, %q", p.LastEventID, p.Ignored, want)
	}
	p.Feed([]byte("\n"))
	if p.Pending() {
		t.Error("pending after a blank line")
	}
	p.Feed([]byte(":half a comment"))
	if !p.Pending() {
		t.Error("nothing pending inside a line")
	}
}

// How a stream is cut into pieces never changes what it means.
func FuzzParser(f *testing.F) {
	f.Add("\uFEFFid:1\r\ndata:a\r\rdata\n\r\nretry:1\n\n", uint8(3))
	f.Fuzz(func(t *testing.T, stream string, size uint8) {
		want := ParseAll([]byte(stream))
		var p Parser
		var got []Event
		for rest := []byte(stream); len(rest) > 0; {
			n := min(int(size)+1, len(rest))
			got = append(got, p.Feed(rest[:n])...)
			rest = rest[n:]
		}
		if !slices.Equal(got, want) {
			t.Fatalf("in pieces of %d:\n got %+v\nwant %+v", int(size)+1, got, want)
		}
	})
}
