package share

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"time"

	"github.com/seed-4dedbcea/caddy-sse/internal/caddykit/failure"
	"github.com/seed-4dedbcea/caddy-sse/internal/engine/stream"
)

// Info is a source as the API shows it.
type Info struct {
	ID         string    `json:"id"`
	Key        string    `json:"key"` // hashed, as it holds what the backend was given
	Epoch      string    `json:"epoch"`
	Name       string    `json:"name,omitempty"`
	Backend    string    `json:"backend"`
	State      State     `json:"state"`
	Since      time.Time `json:"since"`
	Streams    int       `json:"streams"`
	History    int       `json:"history"`
	Bytes      int       `json:"bytes"`
	Records    uint64    `json:"records"`
	Reconnects int       `json:"reconnects"`
	LastError  string    `json:"last_error,omitempty"`

	Lagged int `json:"-"` // streams that have missed what the history no longer holds
}

// List describes the sources of this process, oldest first.
func List() []Info {
	list := []Info{}
	for _, s := range sources.list() {
		list = append(list, s.info())
	}
	slices.SortFunc(list, func(a, b Info) int { return a.Since.Compare(b.Since) })
	return list
}

// CloseAll ends every source, so that a process that exits leaves nothing behind.
func CloseAll() { sources.closeAll() }

// EndByID ends the source with that id, and all its streams, for the admin API. It reports whether there is one. Clients that
// return have it opened anew.
func EndByID(id string) bool {
	for _, s := range sources.list() {
		if s.epoch == id {
			s.endForAdmin()
			return true
		}
	}
	return false
}

func (s *source) endForAdmin() {
	sources.endNow(s) // so that clients that return open another
	s.mu.Lock()
	for d := range s.streams {
		d.stream.End(stream.EndAdmin)
	}
	s.mu.Unlock()
	s.halt(stream.ErrEndedByAdmin)
	sources.close(s, func() bool { return true })
	s.holdAnew()
}

func (s *source) info() Info {
	s.mu.Lock()
	defer s.mu.Unlock()
	stats := s.records.Stats()
	key := sha256.Sum256([]byte(s.key))
	info := Info{
		ID: s.epoch, Key: hex.EncodeToString(key[:6]), Epoch: s.epoch, Name: s.server.report.Name, Backend: s.server.report.Backend, State: s.state, Since: s.since,
		Streams: stats.Subscribers, History: stats.Events, Bytes: stats.Bytes, Records: s.committed,
		Reconnects: s.attempts,
	}
	for _, f := range s.feeds {
		if f.frames != s.records {
			info.Streams += f.frames.Stats().Subscribers
		}
	}
	for d := range s.streams {
		if d.subscriber.HasLagged() {
			info.Lagged++
		}
	}
	if s.lastErr != nil {
		info.LastError = failure.Plain(s.lastErr).Error()
	}
	return info
}
