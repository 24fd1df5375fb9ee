package share

import (
	"slices"
	"sort"
	"strconv"
	"strings"
	"sync"
)

// epochs makes and parses the ids that a source gives its records: `<epoch>-<n>`. A source in memory has one epoch. A source in a store
// gets a new one after each takeover, and n continues.
type epochs struct {
	only string // the epoch of a source without a store

	mu    sync.RWMutex
	spans []span // in the order of their records
}

// span is a range of records in one epoch. It begins after a number, and ends with the next span.
type span struct {
	epoch string
	after uint64
}

// begin starts an epoch for the records after this number. oldest is the number of the oldest record that is kept. Epochs before it are
// dropped.
func (e *epochs) begin(epoch string, after, oldest uint64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if n := len(e.spans) - maxEmpty; n >= 0 && e.spans[n].after == after {
		e.spans = slices.Delete(e.spans, n, n+1)
	}
	e.spans = append(e.spans, span{epoch, after})
	kept := e.at(oldest)
	if len(e.spans) > maxSpans {
		kept = max(kept, len(e.spans)-maxSpans/2)
	}
	if kept > len(e.spans)/2 || len(e.spans) > maxSpans {
		e.spans = slices.Clone(e.spans[kept:])
	}
}

// maxSpans is the most spans that are known. There may be many between two records that are kept, if where drops the others. A client
// with an id from before gets a gap.
const maxSpans = 8 << 10

// maxEmpty is the most consecutive epochs without a record that are kept.
const maxEmpty = 16

// at returns the index of the span with this record, or 0. The lock is held.
func (e *epochs) at(seq uint64) int {
	return max(0, sort.Search(len(e.spans), func(i int) bool { return e.spans[i].after >= seq })-1)
}

// appendID appends the id for the record with this number.
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

// seqOf parses an id made by appendID. The beginning of an epoch also has an id: a process without earlier records gives it to clients
// that have not seen a record yet.
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
