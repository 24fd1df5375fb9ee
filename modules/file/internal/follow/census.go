package follow

import (
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// census knows what was seen beside each file that a followed name stood for. It is taken by the hub, once for all
// followers and whether or not they read: siblings that were there before a file lost its name do not come after it.
type census struct {
	wanted atomic.Bool // somebody follows the name through its rotated files
	stale  atomic.Bool // a sibling has come or changed

	taking  sync.Mutex // held while directories are read
	current identity   // when the census was last taken
	changed []time.Time

	mu     sync.Mutex
	latest view
	eras   map[identity]*era
	count  int
}

// view is what there was when last looked.
type view struct {
	current identity // what the name stood for
	seen    sighting // beside it; never changed
	takes   int      // counts how often has been looked
}

// era is the time while the name stands for one file.
type era struct {
	began int      // counts eras; 0: it has not been seen to begin
	seen  sighting // beside the file, when last looked; a new one each time
}

// settled is how long ago a directory must have changed before its time of change is trusted to tell the next change.
const settled = 2 * time.Second

// take looks what is beside the file at path, if anything may have changed there, and reports whether it has looked.
func (c *census) take(path string) bool {
	if !c.wanted.Load() {
		return false
	}
	c.taking.Lock()
	defer c.taking.Unlock()
	stale := c.stale.Swap(false)
	current, ok := identifyTarget(path)
	if !ok {
		return false
	}
	var changed []time.Time
	for _, place := range places(path) {
		info, err := os.Stat(filepath.Dir(place))
		if err != nil {
			return false
		}
		changed = append(changed, info.ModTime())
	}
	if !stale && current == c.current && slices.Equal(changed, c.changed) &&
		!slices.ContainsFunc(changed, func(t time.Time) bool { return time.Since(t) < settled }) {
		return false
	}
	seen := sight(name{path: path}.siblings())
	if again, ok := identifyTarget(path); !ok || again != current {
		c.stale.Store(true) // rotated meanwhile: nobody knows what was beside which
		return false
	}
	c.current, c.changed = current, changed

	c.mu.Lock()
	defer c.mu.Unlock()
	for id := range c.eras {
		if _, there := seen[id]; !there && id != current {
			delete(c.eras, id) // gone; who still reads it has its era
		}
	}
	e := c.eraOf(current)
	if e.began == 0 {
		c.count++
		e.began = c.count
	}
	e.seen = seen
	c.latest = view{current: current, seen: seen, takes: c.latest.takes + 1}
	return true
}

func (c *census) eraOf(id identity) *era {
	e := c.eras[id]
	if e == nil {
		if c.eras == nil {
			c.eras = map[identity]*era{}
		}
		e = new(era)
		c.eras[id] = e
	}
	return e
}

// era is that of a file which is followed from now on.
func (c *census) era(id identity) *era {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.eraOf(id)
}

// now is the latest view.
func (c *census) now() view {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.latest
}

// order tells what was there before or beside the file of e, whatever else is known to have been before it, from what the
// name stood for later. A file may be made beside it and stand for the name later: cronolog points a link to it then.
func (c *census) order(e *era, before sighting) (seen, later sighting) {
	c.mu.Lock()
	defer c.mu.Unlock()
	seen, later = make(sighting, len(e.seen)+len(before)), sighting{}
	if e.began > 0 {
		for id, o := range c.eras {
			if o.began > e.began {
				later[id] = stamp{}
			}
		}
	}
	for _, part := range []sighting{before, e.seen} { // e's is the later one
		for id, at := range part {
			if _, ok := later[id]; !ok {
				seen[id] = at
			}
		}
	}
	return seen, later
}
