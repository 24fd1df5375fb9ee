package backendtest

import (
	"bytes"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/seed-4dedbcea/caddy-sse/backend"
)

// Tape is a backend.Sink that records everything that an upstream delivers:
//
//	tape := new(backendtest.Tape)
//	err := upstream.Stream(ctx, "", tape)
//	// compare err and tape.Text()
//
// Its methods can be called while Stream runs. The zero value is ready to use. The tapes of [Run] also report misuse: two
// goroutines that use one Input at the same time, a use after Stream has returned, or an id with a line break.
type Tape struct {
	OpenErr  error // if it is set, each Open returns it
	WriteErr error // if it is set, each Write records its bytes and returns it

	mu     sync.Mutex
	types  []string
	inputs []*tapeInput
	wrong  []string
	closed bool
	lines  chan struct{} // closed with the first whole line
	once   sync.Once
}

// Open records the content type and returns an Input that records its bytes.
func (tape *Tape) Open(contentType string) (backend.Input, error) {
	tape.mu.Lock()
	defer tape.mu.Unlock()
	tape.check("Open")
	tape.types = append(tape.types, contentType)
	if tape.OpenErr != nil {
		return nil, tape.OpenErr
	}
	in := &tapeInput{tape: tape}
	tape.inputs = append(tape.inputs, in)
	return in, nil
}

// Types returns the content types that Open was called with, in order.
func (tape *Tape) Types() []string {
	tape.mu.Lock()
	defer tape.mu.Unlock()
	return append([]string(nil), tape.types...)
}

// Texts returns the bytes that were written to each Input, in the order in which the Inputs were opened.
func (tape *Tape) Texts() []string {
	tape.mu.Lock()
	defer tape.mu.Unlock()
	texts := make([]string, len(tape.inputs))
	for i, in := range tape.inputs {
		texts[i] = in.data.String()
	}
	return texts
}

// Text returns the bytes of all Inputs, one after the other.
func (tape *Tape) Text() string { return strings.Join(tape.Texts(), "") }

// Ends returns the argument of each call of End, for all Inputs.
func (tape *Tape) Ends() []bool {
	tape.mu.Lock()
	defer tape.mu.Unlock()
	var ends []bool
	for _, in := range tape.inputs {
		ends = append(ends, in.ends...)
	}
	return ends
}

// Writes returns the number of Writes to all Inputs.
func (tape *Tape) Writes() int {
	tape.mu.Lock()
	defer tape.mu.Unlock()
	n := 0
	for _, in := range tape.inputs {
		n += in.writes
	}
	return n
}

// Recording holds the calls of one Input.
type Recording struct {
	Text string // the bytes of all Writes
	Ends []bool // the argument of each call of End
	Gaps int    // the number of calls of Gap
}

// Recordings returns a Recording for each Input, in the order in which the Inputs were opened.
func (tape *Tape) Recordings() []Recording {
	tape.mu.Lock()
	defer tape.mu.Unlock()
	all := make([]Recording, len(tape.inputs))
	for i, in := range tape.inputs {
		all[i] = Recording{Text: in.data.String(), Ends: append([]bool(nil), in.ends...), Gaps: in.gaps}
	}
	return all
}

// check records a use after Stream has returned. The tape is locked.
func (tape *Tape) check(method string) {
	if tape.closed {
		tape.wrong = append(tape.wrong, method+" was called after Stream had returned")
	}
}

func (tape *Tape) close() {
	tape.mu.Lock()
	defer tape.mu.Unlock()
	tape.closed = true
}

func (tape *Tape) misuses() []string {
	tape.mu.Lock()
	defer tape.mu.Unlock()
	return tape.wrong
}

// line returns a channel that is closed once a whole line has arrived.
func (tape *Tape) line() <-chan struct{} {
	tape.mu.Lock()
	defer tape.mu.Unlock()
	return tape.lineLocked()
}

func (tape *Tape) lineLocked() chan struct{} {
	if tape.lines == nil {
		tape.lines = make(chan struct{})
	}
	return tape.lines
}

type tapeInput struct {
	tape *Tape
	busy atomic.Bool

	data   bytes.Buffer
	writes int
	ends   []bool
	gaps   int
}

// use records a method that overlaps with another, and runs do with the tape locked.
func (in *tapeInput) use(method string, do func()) {
	overlaps := in.busy.Swap(true)
	in.tape.mu.Lock()
	defer in.tape.mu.Unlock()
	if overlaps {
		in.tape.wrong = append(in.tape.wrong, method+" was called while another method of the same Input ran")
	}
	in.tape.check(method)
	do()
	in.busy.Store(false)
}

func (in *tapeInput) Write(p []byte) (int, error) {
	in.use("Write", func() {
		in.data.Write(p)
		in.writes++
		if bytes.IndexByte(p, '\n') >= 0 {
			in.tape.once.Do(func() { close(in.tape.lineLocked()) })
		}
	})
	if in.tape.WriteErr != nil {
		return 0, in.tape.WriteErr
	}
	return len(p), nil
}

func (in *tapeInput) End(clean bool) error {
	in.use("End", func() { in.ends = append(in.ends, clean) })
	return in.tape.WriteErr
}

func (in *tapeInput) SetOffset(offset int64, appendID func([]byte, int64) []byte) {
	in.use("SetOffset", func() {
		if id := appendID(nil, offset); strings.ContainsAny(string(id), "\r\n") || offset < 0 {
			in.tape.wrong = append(in.tape.wrong, fmt.Sprintf("SetOffset to %d with the id %q: the id has a line break, or the offset is negative", offset, id))
		}
	})
}

func (in *tapeInput) Gap() error {
	in.use("Gap", func() { in.gaps++ })
	return in.tape.WriteErr
}

var (
	_ backend.Sink  = (*Tape)(nil)
	_ backend.Input = (*tapeInput)(nil)
)
