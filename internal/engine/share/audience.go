package share

import "time"

// audience holds the streams of a source. It is guarded by source.mu.
type audience struct {
	streams  map[*delivery]struct{}
	checking bool // a check for laggards is scheduled
	pump     pump // delivers to them; has a lock of its own
}

// breakOff ends the streams of a source after a record with which the upstream reports its failure. They get the events before that
// record first. The source continues, for clients that reconnect.
func (s *source) breakOff(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for d := range s.streams {
		d.failure = err
		d.subscriber.Finish()
		d.Wake()
	}
}

// lagInterval is how often streams that are blocked in a write are checked for lag.
const lagInterval = time.Second

// endLaggards ends the streams that are behind the history, unless lag is skip. A stream that can still write notices that itself. A
// stream whose client takes nothing would otherwise wait for its stall timeout.
func (s *source) endLaggards() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.checking = false
	for d := range s.streams {
		if !d.server.SkipLag && d.subscriber.HasLagged() {
			d.lag()
		}
	}
}

func (s *source) enter(d *delivery) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.streams[d] = struct{}{}
	select {
	case s.entered <- struct{}{}:
	default:
	}
}

func (s *source) exit(d *delivery) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.streams, d)
}
