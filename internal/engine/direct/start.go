package direct

import (
	"sync"
	"time"

	"github.com/seed-4dedbcea/caddy-sse/internal/caddykit/argument"
)

// opening is the state of a client's response before its first record.
type opening struct {
	starting sync.Mutex // held while the response is started
	started  bool
	startErr error
	late     bool // the upstream has ended, so the response must not start early any more
}

// start starts the client's response, unless it has started early. It reads the request's placeholders now, while the next handler
// waits: at other times, that handler may change them.
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

// StartEarly starts the client's response before the upstream has answered, unless the upstream has ended.
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

// startAfter starts the client's response after this time if the upstream has not answered by then. The caller calls stop after the
// upstream has ended.
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
