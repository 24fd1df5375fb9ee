package sse

import (
	"errors"
	"net/http"
	"sync"

	"github.com/seed-4dedbcea/caddy-sse/internal/caddykit/metrics"
)

// limits counts the streams of a handler, for max_streams and max_streams_per_client.
type limits struct {
	mu        sync.Mutex
	total     int
	perClient map[string]int
}

var (
	errTooManyStreams     = errors.New("max_streams is reached")
	errTooManyForOneOfAll = errors.New("max_streams_per_client is reached")
)

// enter counts a stream in, before anything is opened for it. leave counts it out, once.
func (l *limits) enter(h *Handler, w http.ResponseWriter, r *http.Request) (leave func(), err error) {
	if h.MaxStreams == 0 && h.MaxStreamsPerClient == 0 {
		return func() {}, nil
	}
	var client string
	if h.MaxStreamsPerClient > 0 {
		if client, err = h.streamsKey.Expand(r); err != nil {
			return nil, err
		}
	}
	status, err := l.count(h, client)
	if err != nil {
		w.Header().Set("Retry-After", "5")
		reason := metrics.RefusedMaxStreams
		if errors.Is(err, errTooManyForOneOfAll) {
			reason = metrics.RefusedMaxStreamsPerClient
		}
		return nil, h.refuse(r, reason, status, err)
	}
	return sync.OnceFunc(func() { l.uncount(client) }), nil
}

func (l *limits) count(h *Handler, client string) (status int, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if h.MaxStreams > 0 && l.total >= h.MaxStreams {
		return http.StatusServiceUnavailable, errTooManyStreams
	}
	if h.MaxStreamsPerClient > 0 {
		if l.perClient[client] >= h.MaxStreamsPerClient {
			return http.StatusTooManyRequests, errTooManyForOneOfAll
		}
		if l.perClient == nil {
			l.perClient = make(map[string]int)
		}
		l.perClient[client]++
	}
	l.total++
	return 0, nil
}

func (l *limits) uncount(client string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.total--
	if l.perClient[client] > 1 {
		l.perClient[client]--
	} else {
		delete(l.perClient, client)
	}
}
