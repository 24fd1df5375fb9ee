package direct

import (
	"sync"
	"time"

	"github.com/seed-4dedbcea/caddy-sse/internal/caddykit/argument"
)

// opening is how far a client's response has come before its first record.
type opening struct {
	starting sync.Mutex // held while the response is started
	started  bool
	startErr error
	late     bool // it is too late to start early
}

// start starts the client's response, unless it has started early. The request's placeholders are read here, where the
// next handler waits: while it works it may change what they stand for.
func (d *Sink) start() error {
	d.starting.Lock()
	defer d.starting.Unlock()
	d.Stream.Answered()
	if d.batch.Mapper == nil {
		lookup := argument.Lookup(d.Stream.Request)
		d.batch.Mapper, d.selector = d.server.Mapping.Bind(lookup), d.server.Ending.Bind(lookup)
	}
	return d.startOnce()
}

// StartEarly starts the client's response although the upstream has not answered, unless it is too late.
func (d *Sink) StartEarly() {
	d.starting.Lock()
	defer d.starting.Unlock()
	if !d.late && !d.started && !d.Stream.Ended() {
		d.Stream.NotAnswered()
		_ = d.startOnce() // its failure ends the stream
	}
}

// startOnce starts the response. The opening is locked.
func (d *Sink) startOnce() error {
	if !d.started {
		d.started = true
		d.startErr = d.Stream.Start(nil)
	}
	return d.startErr
}

// startAfter starts the client's response after that time, unless the upstream has answered by then. The caller calls stop
// once the upstream has ended.
func (d *Sink) startAfter(wait time.Duration) (stop func()) {
	if wait <= 0 {
		return func() {}
	}
	timer := time.AfterFunc(wait, d.StartEarly)
	return func() {
		timer.Stop()
		d.starting.Lock()
		defer d.starting.Unlock()
		d.late = true
	}
}
