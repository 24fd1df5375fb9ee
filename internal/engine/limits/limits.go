// Package limits limits the number of streams: max_streams and max_streams_per_client.
package limits

import (
	"errors"
	"net/http"
	"sync"

	"github.com/seed-4dedbcea/caddy-sse/internal/caddykit/argument"
	"github.com/seed-4dedbcea/caddy-sse/internal/caddykit/metrics"
	"github.com/seed-4dedbcea/caddy-sse/internal/engine/stream"
)

// Limits counts the streams of one sse handler.
type Limits struct {
	Most, MostPerClient int          // 0: no limit
	Client              argument.Key // identifies a client
	Streams             *stream.Group

	mu        sync.Mutex
	total     int
	perClient map[string]int
}

var (
	errTooManyStreams   = errors.New("max_streams is reached")
	errTooManyForClient = errors.New("max_streams_per_client is reached")
)

// Enter counts a new stream. It returns an error if a limit is reached. leave must be called when the stream ends. It may be called
// again.
func (l *Limits) Enter(w http.ResponseWriter, r *http.Request) (leave func(), err error) {
	if l.Most == 0 && l.MostPerClient == 0 {
		return func() {}, nil
	}
	var client string
	if l.MostPerClient > 0 {
		if client, err = l.Client.Expand(r); err != nil {
			return nil, err
		}
	}
	status, err := l.count(client)
	if err != nil {
		w.Header().Set("Retry-After", "5")
		reason := metrics.RefusedMaxStreams
		if errors.Is(err, errTooManyForClient) {
			reason = metrics.RefusedMaxStreamsPerClient
		}
		return nil, l.Streams.Refuse(r, reason, status, err)
	}
	return sync.OnceFunc(func() { l.uncount(client) }), nil
}

func (l *Limits) count(client string) (status int, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.Most > 0 && l.total >= l.Most {
		return http.StatusServiceUnavailable, errTooManyStreams
	}
	if l.MostPerClient > 0 {
		if l.perClient[client] >= l.MostPerClient {
			return http.StatusTooManyRequests, errTooManyForClient
		}
		if l.perClient == nil {
			l.perClient = make(map[string]int)
		}
		l.perClient[client]++
	}
	l.total++
	return 0, nil
}

func (l *Limits) uncount(client string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.total--
	if l.perClient[client] > 1 {
		l.perClient[client]--
	} else {
		delete(l.perClient, client)
	}
}
