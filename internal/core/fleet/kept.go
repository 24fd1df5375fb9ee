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

// keep notes a message. A member that does not lead leaves it to the leader to drop messages, but must not remember all of
// them either.
func (m *Member) keep(pos store.Pos, b *batch, size int) {
	m.messages = append(m.messages, keptMessage{pos, b.count, int64(size), b.at})
	m.records += b.count
	m.bytes += int64(size)
	m.forget(m.fleet.settings, time.Now(), 2)
}

// tooMany returns the place before which messages are to be dropped, 0 if none are. It lets an eighth more be kept than the
// settings say, so that the store is asked rarely.
func (m *Member) tooMany(now time.Time) store.Pos {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.forget(m.fleet.settings, now, 1) {
		return 0
	}
	return m.messages[0].pos
}

// forget forgets messages that are more than the settings say, if they are so many eighths more. It reports whether. m.mu is
// held.
func (k *kept) forget(s store.Settings, now time.Time, eighths int) bool {
	over := func(slack int) bool {
		first := k.messages[0]
		return k.records-first.count >= uint64(s.Count+s.Count/8*slack) || k.bytes-first.size >= s.Size+s.Size/8*int64(slack) || now.Sub(first.at) > s.Age+s.Age/8*time.Duration(slack)
	}
	if len(k.messages) < 2 || !over(eighths) {
		return false
	}
	for len(k.messages) > 1 && over(0) {
		k.records -= k.messages[0].count
		k.bytes -= k.messages[0].size
		k.messages = k.messages[1:]
	}
	k.messages = slices.Clone(k.messages)
	return true
}
