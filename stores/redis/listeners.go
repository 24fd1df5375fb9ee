package redis

import "sync"

// listeners are those who want to know what is published.
type listeners struct {
	changed chan struct{} // has a token when a channel may have come or gone

	mu        sync.Mutex
	byChannel map[string]map[*listener]struct{}
}

// listener is told what is published on a channel. Nobody waits for it: what it has no place for is lost.
type listener struct {
	channel string
	told    chan string
	failed  chan error // why the connection is lost
}

func newListeners() *listeners {
	return &listeners{changed: make(chan struct{}, 1), byChannel: make(map[string]map[*listener]struct{})}
}

// add returns a listener that has places for as many messages.
func (s *listeners) add(channel string, places int) *listener {
	l := &listener{channel: channel, told: make(chan string, places), failed: make(chan error, 1)}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.byChannel[channel] == nil {
		s.byChannel[channel] = make(map[*listener]struct{})
		offer(s.changed, struct{}{})
	}
	s.byChannel[channel][l] = struct{}{}
	return l
}

func (s *listeners) remove(l *listener) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.byChannel[l.channel], l)
	if len(s.byChannel[l.channel]) == 0 {
		delete(s.byChannel, l.channel)
		offer(s.changed, struct{}{})
	}
}

// hear tells the listeners of a channel.
func (s *listeners) hear(channel, message string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for l := range s.byChannel[channel] {
		offer(l.told, message)
	}
}

// fail tells all listeners that the connection is lost.
func (s *listeners) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, ls := range s.byChannel {
		for l := range ls {
			offer(l.failed, err)
		}
	}
}

// changes returns the channels that have listeners, but are not subscribed, and those that are the other way round. It notes
// in subscribed that this changes, but for the one that stays always.
func (s *listeners) changes(subscribed map[string]bool, always string) (more, fewer []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for channel := range s.byChannel {
		if !subscribed[channel] {
			more = append(more, channel)
			subscribed[channel] = true
		}
	}
	for channel := range subscribed {
		if s.byChannel[channel] == nil && channel != always {
			fewer = append(fewer, channel)
			delete(subscribed, channel)
		}
	}
	return more, fewer
}

// offer sends a value if there is a place for it.
func offer[T any](c chan<- T, value T) {
	select {
	case c <- value:
	default:
	}
}
