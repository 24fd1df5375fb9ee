package fleet

import (
	"context"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/seed-4dedbcea/caddy-sse/store"
)

// Source is what a member has in its process: clients, and perhaps an upstream. Its methods are not called at the same
// time, except for Lead, Down, Wants and HandsOver.
type Source interface {
	// Synced says, once, that all is applied that was in the store when the member came. It is not called if the upstream
	// turns out to have come to its end before.
	Synced()
	// Missed says that the records up to that number have left the store before the member came.
	Missed(last uint64)
	// Opened says that the records after that number belong to an epoch.
	Opened(epoch string, last uint64)
	// Apply takes entries that belong together. first is the number of the first record among them.
	Apply(first uint64, entries func(yield func(Entry) bool))
	// Gap says that records up to that number may be missing.
	Gap(reason string, last uint64)
	// Position returns where the upstream stands after what was applied. SetPosition is called after records were missed.
	Position() Position
	SetPosition(Position)
	// Over says that the upstream has come to its end for good, and when. The text is what has gone wrong, and empty after a
	// clean end. Nothing is applied after that. The place is the one after which another source begins.
	Over(text string, at time.Time, place store.Pos)
	// Reset says that the store has lost more than can be bridged by a gap. Nothing is applied after that.
	Reset()

	// Lead opens the upstream, again and again, and gives what it sends to w, until the context is done or the upstream has
	// come to its end for good. resumes says that the first connection continues the upstream of another process or of an
	// earlier time.
	Lead(ctx context.Context, w *Writer, resumes bool) (over bool, text string)
	// Down returns for how long the upstream that Lead opens has not been there.
	Down() time.Duration
	// Wants reports whether there are clients that want the upstream.
	Wants() bool
	// HandsOver reports whether another process could continue the upstream. If not, none takes over while this one lives.
	HandsOver() bool
	// TooLarge returns the data of what takes the place of a record that the store does not take.
	TooLarge() []byte
}

// Reasons of gaps that a member itself has found.
const (
	GapStore   = "store"   // the store has lost what it had accepted
	GapHistory = "history" // the store has dropped messages before this member has read them
)

// Observer counts and logs what members do. Any goroutine calls it.
type Observer interface {
	Appended(took time.Duration, err error)
	TookOver(reason string)
	Leads(n int)                  // how many more members of the process lead
	Fenced(records uint64)        // records that another process has kept from being stored
	Failed(log string, err error) // a call to the store has failed
}

// Reasons for which a process takes a source over.
const (
	First    = "first"    // nobody had led it
	Expired  = "expired"  // the leader has been silent for the lease
	Resigned = "resigned" // the leader has given it up
	Rewound  = "rewound"  // the store has lost messages
)

// Fleet is the members of one process at one store.
type Fleet struct {
	store    store.Store
	settings store.Settings
	observer Observer
	presence store.Presence
	node     string

	work
	hurry chan struct{} // something has changed that others should know

	mu sync.Mutex
	roster
	hearing
	yields bool // the process is about to stop
}

// roster is the members of a process. It is guarded by Fleet.mu.
type roster struct {
	members map[string][]*Member // by the log's name
	left    []state              // of members that have left since the last announcement
	serial  uint64
}

// work is goroutines that end together.
type work struct {
	ctx     context.Context
	cancel  context.CancelFunc
	running sync.WaitGroup
}

// hearing is what a process knows of the others. It is guarded by Fleet.mu.
type hearing struct {
	nodes  map[string]time.Time // other processes, and when they were heard
	failed time.Time            // when hearing or being heard has failed last
}

// New returns the fleet of a process. Close it to have its goroutines end.
func New(st store.Store, settings store.Settings, observer Observer) *Fleet {
	f := &Fleet{
		store: st, settings: settings, observer: observer, presence: st.Presence(),
		node:  newNode(),
		hurry: make(chan struct{}, 1), roster: roster{members: make(map[string][]*Member)}, hearing: hearing{nodes: make(map[string]time.Time)},
	}
	f.ctx, f.cancel = context.WithCancel(context.Background())
	f.running.Go(f.watch)
	f.running.Go(f.tick)
	return f
}

// Close ends the fleet. All its members must have left.
func (f *Fleet) Close() {
	f.announce()
	f.cancel()
	f.running.Wait()
}

// newNode returns a name that no other process has, and that tells people which one it is.
func newNode() string {
	host, _ := os.Hostname() // the random part is enough
	return strings.ReplaceAll(host, "/", "-") + "-" + strconv.FormatUint(rand.Uint64(), 36)
}

// Node returns the name by which other processes know this one.
func (f *Fleet) Node() string { return f.node }

// beat is how often a process says what its members do: often enough that two that are lost end no lease.
func (f *Fleet) beat() time.Duration { return f.settings.Lease / 5 }

// look is how often members decide whether to act.
const look = 50 * time.Millisecond

// Yield has the members of a process that is about to stop lead only until others take over, and no more after that.
func (f *Fleet) Yield() {
	f.mu.Lock()
	f.yields = true
	f.mu.Unlock()
	f.announceSoon()
}

// noteFailure notes that the processes cannot hear each other. The silence of the others means nothing then.
func (f *Fleet) noteFailure() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.failed = time.Now()
}

// hears reports whether this process has been able to hear the others for a whole lease, so that silence means something.
func (f *Fleet) hears() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return time.Since(f.failed) >= f.settings.Lease
}

func (f *Fleet) isYielding() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.yields
}

// Join adds a member for a source. everyone says that each process has an upstream of its own, and that the records of all
// are heard. after is the place from which on the log is read, 0 for all of it. The caller must have it Leave.
func (f *Fleet) Join(log string, src Source, everyone bool, after store.Pos) *Member {
	m := &Member{
		identity: identity{fleet: f, name: log, log: f.store.Log(log), everyone: everyone, since: time.Now()}, src: src,
		refollow: make(chan struct{}, 1),
	}
	m.place = place{progress: progress{from: after, pos: after}, moved: make(chan struct{})}
	m.peers = make(map[string]peer)
	m.ctx, m.cancel = context.WithCancel(f.ctx)
	f.mu.Lock()
	f.serial++
	m.serial, m.id = f.serial, memberID(f.node, f.serial)
	f.members[log] = append(f.members[log], m)
	f.mu.Unlock()
	m.running.Go(m.follow)
	f.announceSoon()
	return m
}

func (f *Fleet) remove(m *Member) {
	s := m.state()
	s.gone, s.leads, s.wants = true, false, false
	f.mu.Lock()
	defer f.mu.Unlock()
	list := slices.DeleteFunc(f.members[m.name], func(other *Member) bool { return other == m })
	if f.members[m.name] = list; len(list) == 0 {
		delete(f.members, m.name)
	}
	f.left = append(f.left, s)
}

func (f *Fleet) list() (all []*Member) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, list := range f.members {
		all = append(all, list...)
	}
	return all
}

func (f *Fleet) announceSoon() {
	select {
	case f.hurry <- struct{}{}:
	default:
	}
}

// tick announces what the members do, and lets them decide what to do.
func (f *Fleet) tick() {
	beat, decide := time.NewTicker(f.beat()), time.NewTicker(look)
	defer beat.Stop()
	defer decide.Stop()
	for {
		select {
		case <-beat.C:
			f.announce()
		case <-f.hurry:
			f.announce()
		case <-decide.C:
			for _, m := range f.list() {
				m.decide()
			}
		case <-f.ctx.Done():
			return
		}
	}
}

func (f *Fleet) announce() {
	f.mu.Lock()
	states := f.left
	f.left = nil
	f.mu.Unlock()
	for _, m := range f.list() {
		states = append(states, m.state())
	}
	f.hear(f.node, states) // members of this process with the same log
	for _, data := range encodeBeats(f.node, states) {
		if err := f.presence.Announce(data); err != nil {
			f.noteFailure()
			return // the next one is soon
		}
	}
}

// watch hears other processes.
func (f *Fleet) watch() {
	for f.ctx.Err() == nil {
		_ = f.presence.Watch(f.ctx, func(data []byte) {
			node, states := decodeBeat(data)
			if node == "" || node == f.node {
				return
			}
			f.mu.Lock()
			_, known := f.nodes[node]
			f.nodes[node] = time.Now()
			for other, heard := range f.nodes {
				if time.Since(heard) > 10*f.settings.Lease {
					delete(f.nodes, other)
				}
			}
			f.mu.Unlock()
			if !known {
				f.announceSoon() // it does not know of this one either
			}
			f.hear(node, states)
		})
		f.noteFailure()
		pause(f.ctx, f.beat())
	}
}

func (f *Fleet) hear(node string, states []state) {
	now := time.Now()
	for _, s := range states {
		f.mu.Lock()
		list := slices.Clone(f.members[s.log])
		f.mu.Unlock()
		for _, m := range list {
			if node != f.node || s.member != m.serial {
				m.hear(node, peer{s, now})
			}
		}
	}
}

// pause waits. It reports false if the context was done first.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
