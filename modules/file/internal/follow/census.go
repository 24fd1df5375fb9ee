package follow

import (
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// census records the siblings that existed while a file had the followed name. They do not come after that file. The hub takes the
// census once for all followers, even if they do not read.
type census struct {
	wanted atomic.Bool // a follower reads rotated files too
	stale  atomic.Bool // a sibling has appeared or changed

	taking  sync.Mutex // held while directories are read
	current identity   // the file at path when the census was last taken
	changed []time.Time

	mu     sync.Mutex
	latest view
	eras   map[identity]*era
	count  int
}

// view is the result of the latest look.
type view struct {
	current identity // the file at path
	seen    sighting // its siblings; never changed
	takes   int      // number of looks so far
}

// era is the time during which one file has the name.
type era struct {
	began int      // number of the era; 0: its beginning was not seen
	seen  sighting // its siblings at the latest look; replaced each time
}

// settled is the age from which on a directory's time of change is trusted. The clock may be too coarse for younger ones.
const settled = 2 * time.Second

// take looks for siblings of the file at path if anything may have changed. It reports whether it has looked.
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
	for _, p := range pathsOf(path) {
		info, err := os.Stat(filepath.Dir(p))
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
		c.stale.Store(true) // rotated meanwhile: it is not known which file the siblings belong to
		return false
	}
	c.current, c.changed = current, changed

	c.mu.Lock()
	defer c.mu.Unlock()
	for id := range c.eras {
		if _, there := seen[id]; !there && id != current {
			delete(c.eras, id) // the file is gone; its readers have their own pointer to the era
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

// era returns the era of a file.
func (c *census) era(id identity) *era {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.eraOf(id)
}

// now returns the latest view.
func (c *census) now() view {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.latest
}

// order divides files into two sets. seen are the files that existed before or during era e, and those in before. later are the files
// that had the name after that. A file in both sets counts as later: a file may be created beside the log and get the name
// later, as with cronolog, which points a link to it.
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
