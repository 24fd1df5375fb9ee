package sse

import (
	"errors"
	"net/http"
	"sync"

	"github.com/seed-4dedbcea/caddy-sse/internal/caddykit/argument"
	"github.com/seed-4dedbcea/caddy-sse/internal/caddykit/metrics"
	"github.com/seed-4dedbcea/caddy-sse/internal/engine/stream"
)

// limits counts the streams of one sse, for max_streams and max_streams_per_client.
type limits struct {
	most, mostPerClient int          // 0: no limit
	client              argument.Key // tells clients apart
	streams             *stream.Group

	mu        sync.Mutex
	total     int
	perClient map[string]int
}

var (
	errTooManyStreams     = errors.New("max_streams is reached")
	errTooManyForOneOfAll = errors.New("max_streams_per_client is reached")
)

// enter counts a stream in, before anything is opened for it. leave counts it out, once.
func (l *limits) enter(w http.ResponseWriter, r *http.Request) (leave func(), err error) {
	if l.most == 0 && l.mostPerClient == 0 {
		return func() {}, nil
	}
	var client string
	if l.mostPerClient > 0 {
		if client, err = l.client.Expand(r); err != nil {
			return nil, err
		}
	}
	status, err := l.count(client)
	if err != nil {
		w.Header().Set("Retry-After", "5")
		reason := metrics.RefusedMaxStreams
		if errors.Is(err, errTooManyForOneOfAll) {
			reason = metrics.RefusedMaxStreamsPerClient
		}
		return nil, l.streams.Refuse(r, reason, status, err)
	}
	return sync.OnceFunc(func() { l.uncount(client) }), nil
}

func (l *limits) count(client string) (status int, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.most > 0 && l.total >= l.most {
		return http.StatusServiceUnavailable, errTooManyStreams
	}
	if l.mostPerClient > 0 {
		if l.perClient[client] >= l.mostPerClient {
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
