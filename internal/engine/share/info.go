package share

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strings"
	"time"

	"github.com/seed-4dedbcea/caddy-sse/internal/caddykit/failure"
	"github.com/seed-4dedbcea/caddy-sse/internal/engine/stream"
)

// Info describes a source in the admin API.
type Info struct {
	ID         string    `json:"id"`
	Key        string    `json:"key"` // a hash, because the key may hold secrets
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
	*StoreInfo

	Lagged int `json:"-"` // the number of streams that are behind the history
}

// StoreInfo describes a source in a store in the admin API.
type StoreInfo struct {
	Store  string `json:"store"`
	Role   string `json:"role"`             // leader: this process has the upstream; follower: another process has it, or none
	Leader string `json:"leader,omitempty"` // the last process that took the upstream over: its host and a random part
	Lag    uint64 `json:"lag"`              // the number of records that another process has and this one does not
}

// The roles of a process.
const (
	roleLeader   = "leader"
	roleFollower = "follower"
)

// List describes the sources in this process, oldest first.
func List() []Info {
	list := []Info{}
	for _, s := range sources.list() {
		list = append(list, s.info())
	}
	slices.SortFunc(list, func(a, b Info) int { return a.Since.Compare(b.Since) })
	return list
}

// CloseAll ends all sources, so that nothing is left behind when the process exits.
func CloseAll() { sources.closeAll() }

// EndByID ends the source with this id and all its streams, for the admin API. It returns false if there is none. Clients that reconnect
// open a new source.
func EndByID(id string) bool {
	for _, s := range sources.list() {
		if s.id == id && !s.isEndedByHand() {
			s.endForAdmin()
			return true
		}
	}
	return false
}

// isEndedByHand reports whether a client or the admin API has ended the source, which is about to be closed.
func (s *source) isEndedByHand() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state == isFinished && isEndedByHand(s.over)
}

func (s *source) endForAdmin() {
	if s.endStored(stream.ErrEndedByAdmin) {
		return
	}
	sources.endNow(s, 0) // so that clients that reconnect open a new one
	s.endStreams(stream.EndAdmin)
	s.halt(stream.ErrEndedByAdmin)
	sources.close(s, func() bool { return true })
	s.holdAnew()
}

func (s *source) info() Info {
	s.mu.Lock()
	defer s.mu.Unlock()
	stats := s.records.Stats()
	key := sha256.Sum256([]byte(s.common))
	info := Info{
		ID: s.id, Key: hex.EncodeToString(key[:6]), Epoch: s.epochs.newest(), Name: s.server.report.Name, Backend: s.server.report.Backend, State: s.state, Since: s.since,
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
	err := s.lastErr
	if s.store != nil {
		info.StoreInfo = s.storeInfo()
		if err == nil {
			err = s.store.Err()
		}
	}
	if err != nil {
		info.LastError = failure.Plain(err).Error()
	}
	return info
}

// storeInfo describes the source's role in its fleet.
func (s *source) storeInfo() *StoreInfo {
	info := &StoreInfo{Store: s.store.Name, Role: roleFollower}
	member := s.member.Load()
	if member == nil {
		return info
	}
	status := member.Status()
	if status.Leads {
		info.Role = roleLeader
	}
	info.Leader, _, _ = strings.Cut(status.Leader, "/") // what follows tells the members of one process apart
	info.Lag = status.Lag
	return info
}
