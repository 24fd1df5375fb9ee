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

// The intervals of the poll. It is slow where there are notifications, which NFS and overlays may not send, and fast where a watch
// is impossible.
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

// hub wakes the subscribers of names. It has one watcher and one poll for all names.
type hub struct {
	watcher *fsnotify.Watcher // nil if the system gives none
	topics  map[string]*topic // by path; guarded by shared
	watched map[string]bool   // whether a watch could be set, by directory; guarded by shared

	// routes guards dirs. It is not shared's lock, which is held while the watcher is called: on some systems, such a call waits
	// until an event is taken.
	routes sync.Mutex
	dirs   map[string][]*topic // the topics that want the events of a directory

	nudge chan struct{} // makes the poll check at once
	stop  chan struct{}
	done  sync.WaitGroup
}

// topic is a followed name with its subscriptions.
type topic struct {
	path    string
	paths   []string // at the last look; guarded by routes
	readers map[*subscription]struct{}
	seen    os.FileInfo // the file at the last poll; used only by the poll
	census  census
}

// subscription is one follower's interest in a name.
type subscription struct {
	hub   *hub
	topic *topic
	wake  chan struct{} // something happened
	moved atomic.Bool   // the name may be that of another file now
}

func (s *subscription) notify(moved bool) {
	if moved {
		s.moved.Store(true)
	}
	select {
	case s.wake <- struct{}{}:
	default: // it will be woken already
	}
}

// pathsOf returns the names whose directories report changes of path: path itself and, if it is a symbolic link, the file
// that it leads to. The names of the directories have no symbolic links, because a directory can be watched under one name
// only.
func pathsOf(path string) []string {
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

// subscribe subscribes to changes of a name. When it returns, changes are noticed.
func subscribe(name name) *subscription {
	path := name.path
	paths := pathsOf(path) // may take long if a network file system is gone
	s := newSubscription(path, paths)
	if !name.alone && !s.topic.census.wanted.Swap(true) {
		s.topic.census.take(path)
	}
	return s
}

func newSubscription(path string, paths []string) *subscription {
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
		h.setPaths(t, paths)
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
		h.setPaths(t, nil)
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

// setPaths subscribes a topic to the directories of its paths. The caller holds shared.
func (h *hub) setPaths(t *topic, paths []string) {
	if slices.Equal(t.paths, paths) {
		return
	}
	h.routes.Lock()
	left := t.paths
	for _, p := range left {
		dir := filepath.Dir(p)
		h.dirs[dir] = slices.DeleteFunc(h.dirs[dir], func(o *topic) bool { return o == t })
	}
	t.paths = paths
	for _, p := range paths {
		if dir := filepath.Dir(p); !slices.Contains(h.dirs[dir], t) {
			h.dirs[dir] = append(h.dirs[dir], t)
		}
	}
	var unused []string
	for _, p := range left {
		if dir := filepath.Dir(p); len(h.dirs[dir]) == 0 {
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
	for _, p := range paths {
		dir := filepath.Dir(p)
		if !h.watched[dir] {
			h.watch(dir)
		}
	}
}

// watch sets a watch, also again on a directory that was replaced. The caller holds shared.
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
			// Events were lost, and it is not known which.
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
		for _, p := range t.paths {
			base := filepath.Base(p)
			if filepath.Dir(p) != dir || base != name && !rotatedName(base, name) {
				continue
			}
			t.notify(moved)
			if moved {
				t.census.stale.Store(true)
			}
			// A link may lead to another directory now. And the siblings of this file must be known before it is rotated.
			if moved && (len(t.paths) > 1 || base != name && t.census.wanted.Load()) {
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

// poll checks all names at intervals.
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

// look sets missing watches. Then it wakes the readers of files that have changed since the last look. In this order, no change is
// missed. It holds no lock while it uses a file system that may hang.
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
		paths := pathsOf(t.path)
		shared.Lock()
		if h.topics[t.path] == t {
			h.setPaths(t, paths)
		}
		shared.Unlock()

		seen := t.census.take(t.path)

		info, err := os.Stat(t.path)
		// While there is no file at the name, or an empty one, the previous file may still grow.
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
