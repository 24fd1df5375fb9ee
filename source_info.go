package sse

import (
	"crypto/sha256"
	"encoding/hex"
	"time"

	"github.com/seed-4dedbcea/caddy-sse/internal/caddykit/failure"
)

// sourceInfo is a source as the API shows it.
type sourceInfo struct {
	Key        string      `json:"key"` // hashed, as it holds what the backend was given
	Epoch      string      `json:"epoch"`
	Name       string      `json:"name,omitempty"`
	Backend    string      `json:"backend"`
	State      sourceState `json:"state"`
	Since      time.Time   `json:"since"`
	Streams    int         `json:"streams"`
	History    int         `json:"history"`
	Bytes      int         `json:"bytes"`
	Records    uint64      `json:"records"`
	Reconnects int         `json:"reconnects"`
	LastError  string      `json:"last_error,omitempty"`
}

func (s *source) info() sourceInfo {
	s.mu.Lock()
	defer s.mu.Unlock()
	stats := s.records.Stats()
	key := sha256.Sum256([]byte(s.key))
	info := sourceInfo{
		Key: hex.EncodeToString(key[:6]), Epoch: s.epoch, Name: s.server.report.Name, Backend: s.server.report.Backend, State: s.state, Since: s.since,
		Streams: stats.Subscribers, History: stats.Events, Bytes: stats.Bytes, Records: s.committed,
		Reconnects: s.attempts,
	}
	for _, f := range s.feeds {
		if f.frames != s.records {
			info.Streams += f.frames.Stats().Subscribers
		}
	}
	if s.lastErr != nil {
		info.LastError = failure.Plain(s.lastErr).Error()
	}
	return info
}
