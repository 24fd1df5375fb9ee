package follow

import (
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fsnotify/fsnotify"
)

// These say how often the poll checks names: slowly where there are notifications, since NFS and overlays may not send
// them, and fast where there can be no watch.
const (
	pollWatched   = time.Second
	pollUnwatched = 250 * time.Millisecond
)

// newWatcher is replaced in tests.
var newWatcher = fsnotify.NewWatcher

// shared holds the one hub of the process. The hub lives from the first
// subscription to the last.
var shared struct {
	sync.Mutex // also guards fields of the hub, as noted there
	hub        *hub
}

// hub wakes the subscribers of names. It has one watcher and one poll for all of them.
type hub struct {
	watcher *fsnotify.Watcher // nil if the system gives none
	topics  map[string]*topic // by path; guarded by shared
	watched map[string]bool   // whether a watch could be set, by directory; guarded by shared

	// routes is not the lock above, because the watcher is called under that one.
	// On some systems such a call waits until an event is taken.
	routes sync.Mutex
	dirs   map[string][]*topic // the topics that want the events of a directory

	nudge chan struct{} // makes the poll look at once
	stop  chan struct{}
	done  sync.WaitGroup
}

// topic is a name, and all subscriptions to it.
type topic struct {
	path    string
	places  []string // at the last look; guarded by routes
	readers map[*subscription]struct{}
	seen    os.FileInfo // as the poll last saw it; used by the poll alone
	census  census
}

// subscription is one follower's interest in a name.
type subscription struct {
	hub   *hub
	topic *topic
	wake  chan struct{} // something happened
	moved atomic.Bool   // the name may stand for another file
}

func (s *subscription) notify(moved bool) {
	if moved {
		s.moved.Store(true)
	}
	select {
	case s.wake <- struct{}{}:
	default: // a wake-up is waiting already
	}
}

// places returns the names whose directories report changes of path: path itself and, if it is a symbolic link, the file
// that it leads to. The names of the directories have no symbolic links, because a directory can be watched under one name
// only.
func places(path string) []string {
	dir, err := filepath.EvalSymlinks(filepath.Dir(path))
	if err != nil {
		dir = filepath.Dir(path)
	}
	name := filepath.Join(dir, filepath.Base(path))
	target, err := filepath.EvalSymlinks(path)
	if err != nil || target == name {
		return []string{name}
	}
	return []string{name, target}
}

// subscribe returns once changes to the name are watched.
func subscribe(name name) *subscription {
	path := name.path
	places := places(path) // may take long if a network file system is gone
	s := newSubscription(path, places)
	if !name.alone && !s.topic.census.wanted.Swap(true) {
		s.topic.census.take(path)
	}
	return s
}

func newSubscription(path string, places []string) *subscription {
	shared.Lock()
	defer shared.Unlock()
	h := shared.hub
	if h == nil {
		h = newHub()
		shared.hub = h
	}
	t := h.topics[path]
	if t == nil {
		t = &topic{path: path, readers: map[*subscription]struct{}{}}
		h.topics[path] = t
		h.place(t, places)
	}
	s := &subscription{hub: h, topic: t, wake: make(chan struct{}, 1)}
	s.moved.Store(true)
	h.routes.Lock()
	t.readers[s] = struct{}{}
	h.routes.Unlock()
	return s
}

// cancel ends a subscription. The last one waits until the hub is gone.
func (s *subscription) cancel() {
	h, t := s.hub, s.topic
	shared.Lock()
	h.routes.Lock()
	delete(t.readers, s)
	last := len(t.readers) == 0
	h.routes.Unlock()
	if last {
		delete(h.topics, t.path)
		h.place(t, nil)
	}
	last = len(h.topics) == 0
	if last {
		shared.hub = nil
	}
	shared.Unlock()
	if !last {
		return
	}
	close(h.stop)
	if h.watcher != nil {
		h.watcher.Close()
	}
	h.done.Wait()
}

func newHub() *hub {
	h := &hub{
		topics:  map[string]*topic{},
		watched: map[string]bool{},
		dirs:    map[string][]*topic{},
		nudge:   make(chan struct{}, 1),
		stop:    make(chan struct{}),
	}
	if w, err := newWatcher(); err == nil {
		h.watcher = w
		h.done.Go(h.dispatch)
	}
	h.done.Go(h.poll)
	return h
}

// place subscribes a topic to the directories of its places. The caller holds shared.
func (h *hub) place(t *topic, places []string) {
	if slices.Equal(t.places, places) {
		return
	}
	h.routes.Lock()
	left := t.places
	for _, place := range left {
		dir := filepath.Dir(place)
		h.dirs[dir] = slices.DeleteFunc(h.dirs[dir], func(o *topic) bool { return o == t })
	}
	t.places = places
	for _, place := range places {
		if dir := filepath.Dir(place); !slices.Contains(h.dirs[dir], t) {
			h.dirs[dir] = append(h.dirs[dir], t)
		}
	}
	var unused []string
	for _, place := range left {
		if dir := filepath.Dir(place); len(h.dirs[dir]) == 0 {
			delete(h.dirs, dir)
			unused = append(unused, dir)
		}
	}
	h.routes.Unlock()

	for _, dir := range unused {
		if h.watched[dir] {
			_ = h.watcher.Remove(dir) // fails if the directory is gone, and its watch with it
		}
		delete(h.watched, dir)
	}
	for _, place := range places {
		dir := filepath.Dir(place)
		if !h.watched[dir] {
			h.watch(dir)
		}
	}
}

// watch sets a watch. It sets it anew on a directory that has been replaced. The
// caller holds shared.
func (h *hub) watch(dir string) {
	h.watched[dir] = h.watcher != nil && h.watcher.Add(dir) == nil
}

// dispatch passes each notification to its topics.
func (h *hub) dispatch() {
	for {
		select {
		case event, ok := <-h.watcher.Events:
			if !ok {
				return
			}
			h.route(event)
		case _, ok := <-h.watcher.Errors:
			if !ok {
				return
			}
			// Events have been dropped. It is not known which.
			h.routes.Lock()
			for _, topics := range h.dirs {
				for _, t := range topics {
					t.notify(true)
				}
			}
			h.routes.Unlock()
		}
	}
}

func (h *hub) route(event fsnotify.Event) {
	dir, name := filepath.Dir(event.Name), filepath.Base(event.Name)
	moved := event.Op&^fsnotify.Write != 0
	h.routes.Lock()
	defer h.routes.Unlock()
	for _, t := range h.dirs[dir] {
		for _, place := range t.places {
			base := filepath.Base(place)
			if filepath.Dir(place) != dir || base != name && !rotatedName(base, name) {
				continue
			}
			t.notify(moved)
			if moved {
				t.census.stale.Store(true)
			}
			// A link may lead to another directory now. And the files beside
			// this one must be known before it is rotated.
			if moved && (len(t.places) > 1 || base != name && t.census.wanted.Load()) {
				select {
				case h.nudge <- struct{}{}:
				default:
				}
			}
			break
		}
	}
}

// notify wakes all readers. The caller holds routes.
func (t *topic) notify(moved bool) {
	for s := range t.readers {
		s.notify(moved)
	}
}

// poll looks at all names from time to time.
func (h *hub) poll() {
	for {
		pause := pollWatched
		shared.Lock()
		for _, watched := range h.watched {
			if !watched {
				pause = pollUnwatched
			}
		}
		shared.Unlock()
		select {
		case <-h.stop:
			return
		case <-h.nudge:
		case <-time.After(pause):
		}
		h.look()
	}
}

// look sets the watches that are missing. Then it wakes the readers of files that have changed since the last look. In this
// order, no change is missed. It holds no lock where the file system may hang.
func (h *hub) look() {
	shared.Lock()
	topics := make([]*topic, 0, len(h.topics))
	for _, t := range h.topics {
		topics = append(topics, t)
	}
	for dir := range h.watched {
		h.watch(dir)
	}
	shared.Unlock()

	for _, t := range topics {
		places := places(t.path)
		shared.Lock()
		if h.topics[t.path] == t {
			h.place(t, places)
		}
		shared.Unlock()

		seen := t.census.take(t.path)

		info, err := os.Stat(t.path)
		// While the name leads to nothing or to an empty file, the file before may
		// still grow.
		changed := seen || err != nil || info.Size() == 0 || t.seen == nil || !os.SameFile(t.seen, info) ||
			t.seen.Size() != info.Size() || t.seen.Mode() != info.Mode() || !t.seen.ModTime().Equal(info.ModTime())
		t.seen = info
		if changed {
			h.routes.Lock()
			t.notify(true)
			h.routes.Unlock()
		}
	}
}
