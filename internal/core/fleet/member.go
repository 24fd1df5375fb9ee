package fleet

import (
	"context"
	"errors"
	"hash/fnv"
	"strconv"
	"sync"
	"time"

	"github.com/seed-4dedbcea/caddy-sse/store"
)

// Member is one process's part in a source.
type Member struct {
	identity
	src Source
	work

	refollow chan struct{} // look at the head, and follow anew

	applying sync.Mutex // held while the source applies; taken before mu

	mu sync.Mutex
	place
	seen seen
	election
	kept
}

// identity is what a member is from its beginning to its end.
type identity struct {
	fleet    *Fleet
	name     string // of the log
	log      store.Log
	serial   uint64 // among the members of the process
	id       string // of the process and the member
	everyone bool   // each member has an upstream
	since    time.Time
}

// place is how far a member has come in its log. It is guarded by Member.mu.
type place struct {
	progress
	missed uint64    // how often messages were missing that nobody has told of
	losses uint64    // how often the store has been found to have lost messages
	heard  time.Time // when the newest message of another member came
	ended  error     // the source takes nothing more: errOver, errReset
	synced bool
	moved  chan struct{} // closed when anything of this has changed
}

// progress is what a member knows of the newest message that it has applied.
type progress struct {
	from   store.Pos // where the log begins for this member
	pos    store.Pos
	epoch  string
	leader string // the member that has opened the epoch
	last   uint64 // number of the newest record
	mark   uint64
	own    uint64 // nonce of its own newest message
}

// election is what a member knows of the others, and what it has decided. It is guarded by Member.mu.
type election struct {
	peers    map[string]peer
	leading  bool
	nonce    uint64
	resigned bool      // a peer has given up the source
	vacant   time.Time // since when nobody leads; zero if somebody does
	rests    time.Time // when it may lead again
	yields   bool      // it leads until another one takes over
	failed   time.Time // when the log has failed last
	behind   behind
}

// behind is a leader's record that the member lacks, as it was announced.
type behind struct {
	since time.Time // zero if it lacks none
	last  uint64
	epoch string
}

// Leave takes the member out. If it leads, its upstream is closed, and others take over at once. It returns when nothing of
// the member runs.
func (m *Member) Leave() {
	m.fleet.remove(m)
	m.mu.Lock()
	m.cancel() // nothing begins after this
	m.mu.Unlock()
	m.running.Wait()
	m.fleet.announceSoon()
}

// IsNeeded reports whether the member leads, and others want it to go on.
func (m *Member) IsNeeded() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.leading && !m.everyone && m.anyFresh(func(p peer) bool { return p.wants })
}

// End has the upstream come to its end for all members, whoever leads. The text is that of Source.Over. It waits until the
// store has accepted it, and reports false if the context was done first, or if the source has ended already.
func (m *Member) End(ctx context.Context, text string) bool {
	for {
		head, err := m.headAtLast(ctx)
		if err != nil || !m.await(ctx, head) {
			return false
		}
		m.mu.Lock()
		p := m.place
		m.mu.Unlock()
		b := &batch{
			kind: isOver, epoch: p.epoch, node: m.id, nonce: m.newNonce(), at: time.Now(), after: p.mark,
			first: p.last + 1, position: m.src.Position(), losses: p.losses, text: text,
		}
		if b.epoch == "" {
			b.epoch = newEpoch() // nobody has led it yet
		}
		if err := m.put(ctx, head.Pos, b); err == nil {
			return true
		} else if !errors.Is(err, errDeposed) {
			return false
		}
	}
}

// CatchUp waits until all is applied that the store has now. It reports false if the context was done first.
func (m *Member) CatchUp(ctx context.Context) bool {
	head, err := m.headAtLast(ctx)
	return err == nil && m.await(ctx, head)
}

// Trim drops from the store what was there before that place.
func (m *Member) Trim(ctx context.Context, before store.Pos) error { return m.log.Trim(ctx, before) }

// Status is a member as the admin API shows it.
type Status struct {
	Leads  bool
	Leader string // the node that has opened the current epoch
	Epoch  string
	Last   uint64 // number of the newest record
	Lag    uint64 // records that another member has applied and this one has not
}

// Status returns the member's status.
func (m *Member) Status() Status {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := Status{Leads: m.leading, Leader: m.leader, Epoch: m.epoch, Last: m.last}
	for _, p := range m.peers {
		if p.last > m.last {
			s.Lag = max(s.Lag, p.last-m.last)
		}
	}
	return s
}

func (m *Member) state() state {
	wants, yielding := m.src.Wants(), m.fleet.isYielding()
	m.mu.Lock()
	defer m.mu.Unlock()
	s := state{log: m.name, member: m.serial, pos: m.pos, last: m.last, epoch: m.epoch}
	s.leads = m.leading
	s.yields = m.leading && (m.yields || yielding) && m.src.HandsOver()
	s.wants = wants && !yielding && m.ended == nil && time.Now().After(m.rests)
	return s
}

// hear takes what another member has announced.
func (m *Member) hear(node string, p peer) {
	m.mu.Lock()
	defer m.mu.Unlock()
	key := memberID(node, p.member)
	if p.gone {
		m.resigned = m.resigned || m.peers[key].leads
		delete(m.peers, key)
		return
	}
	m.resigned = m.resigned || p.yields || m.peers[key].leads && !p.leads
	m.peers[key] = p
	for key, p := range m.peers {
		if time.Since(p.heard) > 10*m.fleet.settings.Lease {
			delete(m.peers, key)
		}
	}
	if p.leads && m.behind.since.IsZero() && (p.epoch != m.epoch || p.last > m.last) {
		m.behind = behind{since: time.Now(), last: p.last, epoch: p.epoch}
	}
}

func memberID(node string, serial uint64) string { return node + "/" + strconv.FormatUint(serial, 36) }

// anyFresh reports whether there is such a peer that was heard within the lease. m.mu is held.
func (m *Member) anyFresh(is func(peer) bool) bool {
	for _, p := range m.peers {
		if time.Since(p.heard) < m.fleet.settings.Lease && is(p) {
			return true
		}
	}
	return false
}

// rank returns how many others come before this member when all of them want to lead. m.mu is held.
func (m *Member) rank() int {
	weight := func(key string) uint64 {
		h := fnv.New64a()
		h.Write([]byte(m.name))
		h.Write([]byte(key))
		return h.Sum64()
	}
	own, before := weight(m.id), 0
	for key, p := range m.peers {
		if p.wants && time.Since(p.heard) < m.fleet.settings.Lease && weight(key) > own {
			before++
		}
	}
	return before
}

// Times of an election.
const (
	rankDelay  = 100 * time.Millisecond // between those who may try
	warmUp     = 300 * time.Millisecond // after which a new member leads a source that nobody has led
	maxDown    = 5 * time.Second        // after which a leader whose upstream is not there lets others try
	rest       = 10 * time.Second       // for which it does not lead then
	maxBehind  = time.Second            // after which a member that lacks what others have looks for it
	retryAfter = 250 * time.Millisecond // a campaign that has failed
)

// decide begins to lead if nobody else does.
func (m *Member) decide() {
	wants, yielding, hears, down, handsOver := m.src.Wants(), m.fleet.isYielding(), m.fleet.hears(), m.src.Down(), m.src.HandsOver()
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	hears = hears && now.Sub(m.failed) >= m.fleet.settings.Lease
	switch {
	case m.epoch == m.behind.epoch && m.last >= m.behind.last:
		m.behind = behind{}
	case !m.behind.since.IsZero() && now.Sub(m.behind.since) > maxBehind:
		m.behind = behind{}
		m.followAnew()
	}
	if m.leading {
		if !m.everyone && !m.yields && down > maxDown && handsOver && m.anyFresh(func(p peer) bool { return p.wants }) {
			m.yields, m.rests = true, now.Add(rest)
			m.fleet.announceSoon()
		} else if m.yields && now.After(m.rests) {
			m.yields = false
		}
		return
	}
	m.yields = false
	if m.everyone {
		if m.synced && m.ended == nil {
			m.begin(Expired)
		}
		return
	}
	if !wants || yielding || !m.synced || m.ended != nil || now.Before(m.rests) {
		m.vacant = time.Time{}
		return
	}
	led := m.anyFresh(func(p peer) bool { return p.leads && !p.yields }) || !hears && !m.resigned && m.leader != "" && m.leader != m.id
	heardOfLeader := !m.resigned && m.leader != "" && now.Sub(m.heard) < m.fleet.settings.Lease && m.leader != m.id
	if led || heardOfLeader {
		m.vacant, m.resigned = time.Time{}, false
		return
	}
	if m.vacant.IsZero() {
		m.vacant = now
	}
	start := m.vacant
	warm := warmUp
	if m.epoch != "" { // somebody may lead it, and be slow to say so
		warm = m.fleet.settings.Lease / 2
	}
	if earliest := m.since.Add(warm); earliest.After(start) {
		start = earliest
	}
	if now.Before(start.Add(time.Duration(m.rank()) * rankDelay)) {
		return
	}
	reason := Expired
	if m.resigned {
		reason = Resigned
	}
	m.begin(reason)
}

// begin has the member lead. m.mu is held.
func (m *Member) begin(reason string) {
	if m.ctx.Err() != nil {
		return
	}
	m.leading, m.resigned, m.vacant = true, false, time.Time{}
	m.running.Go(func() {
		m.lead(reason)
		m.mu.Lock()
		m.leading = false
		m.rests = later(m.rests, time.Now().Add(retryAfter))
		m.mu.Unlock()
		m.fleet.announceSoon()
	})
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
