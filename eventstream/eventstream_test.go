package eventstream_test

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/seed-4dedbcea/caddy-sse/eventstream"
)

func ExampleEvent() {
	id, _ := eventstream.NewID("42")
	name, _ := eventstream.NewType("greeting")
	frame := eventstream.Event{ID: id, Type: name, Data: []byte("hello\nworld")}.AppendTo(nil)
	os.Stdout.Write(frame)
	// Output:
	// id: 42
	// event: greeting
	// data: hello
	// data: world
}

func ExampleAppendData() {
	// AppendID refuses an id that would forge a field.
	frame, ok := eventstream.AppendID(nil, []byte("7\ndata: forged"))
	fmt.Println(ok)
	frame = eventstream.AppendData(frame, []byte("real"))
	os.Stdout.Write(frame)
	// Output:
	// false
	// data: real
}

func TestDataIsSplitAtEveryLineBreakThatClientsKnow(t *testing.T) {
	for _, test := range []struct{ data, frame string }{
		{"", "data:\n\n"},
		{"a", "data: a\n\n"},
		{" a", "data:  a\n\n"},
		{"a\nb", "data: a\ndata: b\n\n"},
		{"a\rb", "data: a\ndata: b\n\n"},
		{"a\r\nb", "data: a\ndata: b\n\n"},
		{"a\n\rb", "data: a\ndata:\ndata: b\n\n"},
		{"a\r\r\nb", "data: a\ndata:\ndata: b\n\n"},
		{"a\n", "data: a\ndata:\n\n"},
		{"\n", "data:\ndata:\n\n"},
		{"\r\n", "data:\ndata:\n\n"},
		{"id: 1\nevent: x", "data: id: 1\ndata: event: x\n\n"},
		{"\u2028\u0085\v\f", "data: \u2028\u0085\v\f\n\n"},
	} {
		if frame := string(eventstream.AppendData(nil, []byte(test.data))); frame != test.frame {
			t.Errorf("%q became %q, want %q", test.data, frame, test.frame)
		}
	}
}

func TestManyLineBreaksOfOneKindDoNotSlowDownTheSearchForTheOther(t *testing.T) {
	// If each line started a new search for CR, this would take hours.
	data := bytes.Repeat([]byte("\n"), 1<<22)
	frame := eventstream.AppendData(nil, append(data, '\r'))
	if want := len("data:\n")*(1<<22+2) + 1; len(frame) != want {
		t.Errorf("frame has %d bytes, want %d", len(frame), want)
	}
}

func TestAFieldThatCannotBeCarriedIsNotSent(t *testing.T) {
	for _, value := range []string{"a\nb", "a\rb", "\r\n", "a\n"} {
		if _, err := eventstream.NewID(value); err != eventstream.ErrField {
			t.Errorf("id %q: %v", value, err)
		}
		if _, err := eventstream.NewType(value); err != eventstream.ErrField {
			t.Errorf("event type %q: %v", value, err)
		}
	}
	if _, err := eventstream.NewID("a\x00b"); err != eventstream.ErrField {
		t.Errorf("id with NUL: %v", err)
	}
	for _, id := range []string{"a\tb", "\x1f", "a\x7f", "a\u0085b", " a", "a ", "\u00a0a", "a\u2003", strings.Repeat("x", 8<<10+1), "sse-end"} {
		if _, err := eventstream.NewID(id); err != eventstream.ErrField {
			t.Errorf("id %.20q, which cannot come back: %v", id, err)
		}
	}
	for _, id := range []string{"a b", "ä", "\u00c0", "日本", strings.Repeat("x", 8<<10), "sse-end2", "1-\xff"} {
		if _, err := eventstream.NewID(id); err != nil {
			t.Errorf("id %.20q: %v", id, err)
		}
	}
	if _, err := eventstream.NewType("a\x00b"); err != nil {
		t.Errorf("event type with NUL: %v", err)
	}
	id, _ := eventstream.NewID("1")
	name, _ := eventstream.NewType("a")
	event := eventstream.Event{ID: id, Type: name, Data: []byte("x")}
	if frame := string(eventstream.NewFields(id, name).AppendEvent(nil, event.Data)); frame != string(event.AppendTo(nil)) {
		t.Errorf("fields put together became %q", frame)
	}
	if frame := string(eventstream.Event{}.AppendTo(nil)); frame != "data:\n\n" {
		t.Errorf("an event without fields became %q", frame)
	}
}

func TestRetryIsInWholeMilliseconds(t *testing.T) {
	for d, want := range map[time.Duration]string{
		1500 * time.Millisecond: "retry: 1500\n",
		time.Microsecond:        "retry: 0\n",
		-time.Second:            "retry: 0\n",
	} {
		if block := string(eventstream.AppendRetry(nil, d)); block != want {
			t.Errorf("%v became %q, want %q", d, block, want)
		}
	}
}

// BenchmarkEncoder compares an event with prepared fields to the least work that any correct encoder has: a search for LF, a
// search for CR, and one copy.
func BenchmarkEncoder(b *testing.B) {
	id, _ := eventstream.NewID("1234567")
	name, _ := eventstream.NewType("update")
	for _, size := range []int{200, 4096} {
		data := []byte(strings.Repeat("x", size))
		fields := eventstream.NewFields(id, name)
		b.Run(fmt.Sprintf("event/%d", size), func(b *testing.B) {
			b.SetBytes(int64(size))
			b.ReportAllocs()
			dst := make([]byte, 0, 2*size+100)
			for b.Loop() {
				dst = fields.AppendEvent(dst[:0], data)
			}
		})
		b.Run(fmt.Sprintf("least/%d", size), func(b *testing.B) {
			b.SetBytes(int64(size))
			dst := make([]byte, 0, 2*size+100)
			for b.Loop() {
				if bytes.IndexByte(data, '\n') < 0 && bytes.IndexByte(data, '\r') < 0 {
					dst = append(dst[:0], data...)
				}
			}
		})
	}
}
