package sim_test

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/seed-4dedbcea/caddy-sse/internal/ssetest"
)

// checker collects violations.
type checker struct {
	ledger *ledger

	mu         sync.Mutex
	violations []string
	first      chan struct{} // closed at the first violation
	counts     map[string]int
}

func newChecker() *checker {
	return &checker{ledger: newLedger(), first: make(chan struct{}), counts: make(map[string]int)}
}

// violation adds a violation.
func (c *checker) violation(text string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.violations) == 0 {
		close(c.first)
	}
	if len(c.violations) < 10 {
		c.violations = append(c.violations, text)
	}
}

// count counts something that has happened. The counts are logged at the end.
func (c *checker) count(what string, n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.counts[what] += n
}

// follower checks the events that one client gets from one URL, over all its reconnects.
type follower struct {
	*checker
	who    who
	role   string
	config func(generation int) []*route
	seen   *route // the route of the response
	same   bool   // the route has the mapping and the upstream of the last event

	generation int // the generation of the response's config

	last    record // n is 0 if there was none
	mapping *mapping
	others  map[int]int
	epoch   string // the epoch of the last event
	seq     uint64
	fresh   bool   // the last event was sent after the config was loaded, so no earlier mapping has left out the next one
	lastID  string // the last id
	eventID string // the id of the last event
	gap     string // the reason of a gap since the last event
	began   bool   // the client has come without an id, so it is not known where it starts
	over    bool   // the last event was the end event
	failed  bool   // the last event was an sse-error
	checked int
}

func (c *checker) follow(w who, role string, config func(generation int) []*route) *follower {
	f := &follower{checker: c, who: w, role: role, config: config}
	f.forget()
	return f
}

// forget resets the follower for a client that comes without an id.
func (f *follower) forget() {
	*f = follower{checker: f.checker, who: f.who, role: f.role, config: f.config, seen: f.seen, generation: f.generation, began: true, others: make(map[int]int)}
}

// open says that a response from this route begins.
func (f *follower) open(generation int, r *route) {
	f.generation = generation
	f.same = f.last.n > 0 && f.mapping == r.mapping && f.last.tag == r.tag
	f.seen = r
	f.over, f.failed = false, false
	if !r.continues() || r.share == "" && r.kind != "file" && !f.same {
		f.forget()
		f.seen = r
	}
}

// event checks the next event.
func (f *follower) event(e ssetest.Event) error {
	if f.over {
		return fmt.Errorf("an event after the end event")
	}
	switch e.Type {
	case "sse-gap":
		return f.lost(e)
	case "sse-error":
		f.count("sse-error", 1)
		f.failed = true
		if f.seen.share != "" {
			return fmt.Errorf("a shared stream has an sse-error: %s", e.Data)
		}
		return nil
	case "over":
		f.over = true
		return f.ended()
	}
	r, ok := parseRecord(e.Data)
	if !ok {
		return fmt.Errorf("data that no mapping makes: %.300q", e.Data)
	}
	if err := f.check(r, e); err != nil {
		return err
	}
	if err := f.order(r); err != nil {
		return err
	}
	f.mapping = f.seen.mapping
	f.last, f.began, f.gap, f.lastID, f.eventID = r, false, "", e.ID, e.ID
	if !e.HasID || f.seen.mapping.id != nil {
		f.epoch = ""
	}
	f.others[r.conn] = r.n
	f.same = true
	f.checked++
	return nil
}

func (f *follower) lost(e ssetest.Event) error {
	_, rest, _ := strings.Cut(e.Data, `"reason":"`)
	reason, _, ok := strings.Cut(rest, `"`)
	if !ok || e.HasID || !slices.Contains([]string{"history", "lag", "upstream"}, reason) {
		return fmt.Errorf("gap with reason %q, id %q: %q", reason, e.ID, e.Data)
	}
	f.count("gap "+reason, 1)
	f.gap = reason
	clear(f.others)
	return nil
}

// position takes an id without an event.
func (f *follower) position(id string) { f.lastID = id }

// check checks the event alone.
func (f *follower) check(r record, e ssetest.Event) error {
	m, conn := f.seen.mapping, f.ledger.get(r.conn)
	switch {
	case r.tag != f.seen.tag:
		return fmt.Errorf("a record of another route: %+v, where all are of %s", r, f.seen.tag)
	case conn == nil || conn.tag != r.tag || int64(r.n) > conn.said.Load():
		return fmt.Errorf("a record that nobody has said: %+v", r)
	case !f.seen.belongs(conn, f.who):
		return fmt.Errorf("a record of another resource: %+v of %q", r, conn.family)
	case !m.matches(r, f.who):
		return fmt.Errorf("a record that the mapping does not let pass: %+v", r)
	}
	id, epoch, seq := e.ID, "", ""
	switch {
	case m.id != nil:
		if want := m.id(r, f.who); id != want || !e.HasID {
			return fmt.Errorf("id %q of %+v, want %q", id, r, want)
		}
	case f.seen.kind == "file":
		if !e.HasID {
			return fmt.Errorf("no id of %+v", r)
		}
	case behaves(r.tag, resumes):
		if want := r.id(); id != want || !e.HasID {
			return fmt.Errorf("id %q of %+v, want %q", id, r, want)
		}
	case f.seen.share == "":
		if e.HasID {
			return fmt.Errorf("id %q of %+v, where there should be none", id, r)
		}
	default:
		epoch, seq, _ = strings.Cut(id, "-")
		number, err := strconv.ParseUint(seq, 10, 64)
		if err != nil || !e.HasID {
			return fmt.Errorf("id %q of %+v", id, r)
		}
		if err := f.numbered(conn, r, epoch, number); err != nil {
			return err
		}
	}
	if m.seq && seq == "" {
		seq, _, _ = strings.Cut(e.Data, " ")
	}
	if kind, data := m.wants(r, seq, f.who); e.Type != kind || e.Data != data {
		return fmt.Errorf("event %q %.3000q of %+v, want %q %.3000q", e.Type, e.Data, r, kind, data)
	}
	if e.HasID && !m.repeats && !f.ledger.sameBody(hash(m.key(f.who), r.tag, fmt.Sprint(epoch == "", r.conn), id), hash(e.Type, e.Data)) {
		return fmt.Errorf("the id %q has meant another event before: this is %+v", id, r)
	}
	return nil
}

// numbered checks the number in the id, which the source has given.
func (f *follower) numbered(conn *connection, r record, epoch string, seq uint64) error {
	known, before, fresh := f.epoch, f.seq, f.fresh
	f.epoch, f.seq, f.fresh = epoch, seq, conn.after(f.generation, r.n)
	if !f.seen.many() {
		if err := conn.numbered(epoch, seq, r.n); err != nil {
			return err
		}
	}
	switch {
	case f.began || f.gap != "" || known == "":
	case known != epoch:
		return fmt.Errorf("another epoch, %s, and no gap", epoch)
	case seq <= before:
		return fmt.Errorf("number %d after %d", seq, before)
	case seq != before+1 && f.seen.mapping.where == nil && f.same && fresh && f.fresh:
		return fmt.Errorf("number %d after %d, and no gap", seq, before)
	}
	return nil
}

// order checks that the event is the next after the last one.
func (f *follower) order(r record) error {
	if f.began || f.last.n == 0 {
		return nil
	}
	err := f.follows(r)
	switch {
	case f.gap == "":
		return err
	case err == nil:
		f.count("needless gap "+f.gap+" "+f.seen.path+" "+f.seen.mapping.name, 1)
	case f.gap != "history" && r.conn == f.last.conn && r.n <= f.last.n:
		return fmt.Errorf("%+v after %+v, and a gap does not make up for that", r, f.last)
	}
	return nil
}

// follows checks that there is no need for a gap.
func (f *follower) follows(r record) error {
	last, m := f.last, f.seen.mapping
	// If the client got an id without an event after its last event, it continues there. Another mapping may have sent more.
	moved := !f.same && f.lastID != f.eventID
	switch {
	case r.tag != last.tag && !m.repeats:
		return fmt.Errorf("%+v after %+v: another upstream, and no gap", r, last)
	case f.seen.many():
		n := f.others[r.conn]
		switch {
		case n == 0 || moved:
			return nil
		case r.n <= n:
			return fmt.Errorf("%+v after %d of the same connection", r, n)
		}
		return f.missing(r, n, r.n-1)
	case r.conn == last.conn && r.n <= last.n:
		return fmt.Errorf("%+v after %+v", r, last)
	case r.conn == last.conn && moved:
		return nil
	case r.conn == last.conn:
		err := f.missing(r, last.n, r.n-1)
		for _, cut := range f.ledger.get(r.conn).cutsFrom(last.n) {
			if err != nil && cut < r.n {
				err = f.missing(r, cut, r.n-1)
			}
		}
		return err
	case m.repeats:
		return nil // another source also has an event with this id, and cannot tell them apart
	case r.conn < last.conn:
		return fmt.Errorf("%+v after %+v: an older connection, and no gap", r, last)
	case moved:
		return nil
	}
	if err := f.complete(last); err != nil {
		return fmt.Errorf("%+v after %+v: %w", r, last, err)
	}
	for _, c := range f.ledger.between(last.conn, r.conn, f.epoch) {
		if err := f.complete(record{tag: c.tag, conn: c.id}); err != nil {
			return fmt.Errorf("%+v after %+v: %w", r, last, err)
		}
	}
	return f.missing(r, 0, r.n-1)
}

// missing checks that the client need not have received any record of a connection between two numbers.
func (f *follower) missing(r record, after, upTo int) error {
	m, conn := f.seen.mapping, f.ledger.get(r.conn)
	for n := after + 1; n <= upTo; n++ {
		if was := (record{r.tag, r.conn, n}); m.matches(was, f.who) && !f.excused(conn, was) {
			return fmt.Errorf("%d of connection %d is missing, after %d, up to %d, and there is no gap", n, conn.id, f.last.n, upTo)
		}
	}
	return nil
}

// excused reports whether a record need not have been kept. That is so if an earlier config, which ran when the record was sent or
// shortly before or after that, did not send it.
func (f *follower) excused(conn *connection, r record) bool {
	for former := max(0, f.generation-20); former < f.generation; former++ {
		was := find(f.config(former), f.seen.path, f.role)
		if was != nil && !was.mapping.matches(r, f.who) && conn.while(former, r.n) {
			return true
		}
	}
	return false
}

// complete checks that the client has received all records of a connection up to its newest one.
func (f *follower) complete(last record) error {
	return f.missing(last, last.n, int(f.ledger.get(last.conn).said.Load()))
}

// ended checks that no record is missing at the end.
func (f *follower) ended() error {
	f.count("end", 1)
	if f.seen.end && f.last.n > 0 && f.gap == "" && f.same {
		return f.complete(f.last)
	}
	return nil
}

// settled reports whether the client has received all records.
func (f *follower) settled() bool {
	return f.last.n == 0 || f.gap != "" || !f.same || f.seen.many() || f.complete(f.last) == nil
}
