package fleet

import (
	"slices"
	"time"

	"github.com/seed-4dedbcea/caddy-sse/store"
)

// kept is what a member knows of the messages that the store keeps. It is guarded by Member.mu.
type kept struct {
	messages []keptMessage
	records  uint64
	bytes    int64
}

type keptMessage struct {
	pos   store.Pos
	count uint64
	size  int64
	at    time.Time
}

func (m *Member) keep(pos store.Pos, b *batch, size int) {
	m.messages = append(m.messages, keptMessage{pos, b.count, int64(size), b.at})
	m.records += b.count
	m.bytes += int64(size)
}

// tooMany returns the place before which messages are to be dropped, 0 if none are. It lets an eighth more be kept than the
// settings say, so that the store is asked rarely.
func (m *Member) tooMany(now time.Time) store.Pos {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.fleet.settings
	over := func(slack int) bool {
		first := m.messages[0]
		return m.records-first.count >= uint64(s.Count+s.Count/8*slack) || m.bytes-first.size >= s.Size+s.Size/8*int64(slack) || now.Sub(first.at) > s.Age+s.Age/8*time.Duration(slack)
	}
	if len(m.messages) < 2 || !over(1) {
		return 0
	}
	n := 0
	for len(m.messages) > 1 && over(0) {
		m.records -= m.messages[0].count
		m.bytes -= m.messages[0].size
		m.messages = m.messages[1:]
		n++
	}
	m.messages = slices.Clone(m.messages)
	return m.messages[0].pos
}
