package share

import (
	"slices"
	"sort"
	"strconv"
	"strings"
	"sync"
)

// epochs makes and reads the ids that a source gives its records: `<epoch>-<n>`. A source in this process's memory has one
// epoch. One in a store has another after each takeover, while n goes on.
type epochs struct {
	only string // of a source without a store

	mu    sync.RWMutex
	spans []span // in the order of their records
}

// span is the records after a number, up to the next span's, that belong to an epoch.
type span struct {
	epoch string
	after uint64
}

// begin says that the records after that number belong to an epoch. oldest is the number of the oldest record that is kept:
// what lies before is forgotten.
func (e *epochs) begin(epoch string, after, oldest uint64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if n := len(e.spans) - maxEmpty; n >= 0 && e.spans[n].after == after {
		e.spans = slices.Delete(e.spans, n, n+1)
	}
	e.spans = append(e.spans, span{epoch, after})
	if kept := e.at(oldest); kept > len(e.spans)/2 {
		e.spans = slices.Clone(e.spans[kept:])
	}
}

// maxEmpty is how many epochs in a row without a record are known.
const maxEmpty = 16

// at returns the index of the span that has the record with that number, or of the first one. The lock is held.
func (e *epochs) at(seq uint64) int {
	return max(0, sort.Search(len(e.spans), func(i int) bool { return e.spans[i].after >= seq })-1)
}

// appendID appends the id of the record with that number.
func (e *epochs) appendID(dst []byte, seq uint64) []byte {
	epoch := e.only
	if epoch == "" {
		e.mu.RLock()
		defer e.mu.RUnlock()
		if len(e.spans) == 0 {
			return dst
		}
		epoch = e.spans[e.at(seq)].epoch
	}
	return strconv.AppendUint(append(append(dst, epoch...), '-'), seq, 10)
}

// seqOf reverses appendID. An epoch's own beginning has an id, too: a process that has nothing before it gives that to
// clients which have seen no record yet.
func (e *epochs) seqOf(id string) (seq uint64, ok bool) {
	epoch, number, ok := strings.Cut(id, "-")
	if !ok || epoch == "" {
		return 0, false
	}
	seq, err := strconv.ParseUint(number, 10, 64)
	if err != nil {
		return 0, false
	}
	if e.only != "" {
		return seq, epoch == e.only
	}
	e.mu.RLock()
	defer e.mu.RUnlock()
	if len(e.spans) == 0 {
		return 0, false
	}
	i := e.at(seq)
	if e.spans[i].epoch == epoch && e.spans[i].after <= seq {
		return seq, true
	}
	for i++; i < len(e.spans) && e.spans[i].after == seq; i++ {
		if e.spans[i].epoch == epoch {
			return seq, true
		}
	}
	return 0, false
}

// newest returns the epoch of the next record, empty if there is none yet.
func (e *epochs) newest() string {
	if e.only != "" {
		return e.only
	}
	e.mu.RLock()
	defer e.mu.RUnlock()
	if len(e.spans) == 0 {
		return ""
	}
	return e.spans[len(e.spans)-1].epoch
}
