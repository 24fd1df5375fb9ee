package redis

import "sync"

// listeners are the listeners of all channels.
type listeners struct {
	changed chan struct{} // has a token after a channel got its first listener or lost its last one

	mu        sync.Mutex
	byChannel map[string]map[*listener]struct{}
}

// listener gets the messages that are published on a channel. Nobody waits for it: a message is lost if its buffer is full.
type listener struct {
	channel string
	told    chan string
	failed  chan error // why the connection is lost
}

func newListeners() *listeners {
	return &listeners{changed: make(chan struct{}, 1), byChannel: make(map[string]map[*listener]struct{})}
}

// add returns a listener with a buffer for so many messages.
func (s *listeners) add(channel string, buffer int) *listener {
	l := &listener{channel: channel, told: make(chan string, buffer), failed: make(chan error, 1)}
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

// hear passes a message to the listeners of its channel.
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

// changes returns the channels to subscribe to, as they have listeners, and those to unsubscribe from, as they have none. It
// updates subscribed. The channel always stays subscribed.
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

// offer sends a value if the channel can take it at once.
func offer[T any](c chan<- T, value T) {
	select {
	case c <- value:
	default:
	}
}
