package fleet

import (
	"encoding/binary"
	"time"

	"github.com/seed-4dedbcea/caddy-sse/store"
)

// state is what a member tells the others.
type state struct {
	log    string
	member uint64 // tells the members of one process with the same log apart

	wants  bool // it has clients that want the upstream, and may lead
	leads  bool
	yields bool // it leads until another one takes over
	gone   bool // it has left

	pos  store.Pos // what it has applied
	last uint64
	// epoch is the one that it leads.
	epoch string
}

const (
	beatWants = 1 << iota
	beatLeads
	beatYields
	beatGone
)

// maxBeat is the most bytes that a process announces at once. More states than that make several announcements.
const maxBeat = 128 << 10

// encodeBeats returns the announcements of a process.
func encodeBeats(node string, states []state) (beats [][]byte) {
	head := appendField([]byte{version}, []byte(node))
	beat := head
	for _, s := range states {
		var flags byte
		for _, f := range []struct {
			set bool
			bit byte
		}{{s.wants, beatWants}, {s.leads, beatLeads}, {s.yields, beatYields}, {s.gone, beatGone}} {
			if f.set {
				flags |= f.bit
			}
		}
		beat = appendField(beat, []byte(s.log))
		beat = binary.AppendUvarint(beat, s.member)
		beat = append(beat, flags)
		beat = binary.AppendUvarint(beat, uint64(s.pos))
		beat = binary.AppendUvarint(beat, s.last)
		beat = appendField(beat, []byte(s.epoch))
		if len(beat) > maxBeat {
			beats = append(beats, beat)
			beat = head[:len(head):len(head)]
		}
	}
	return append(beats, beat)
}

// decodeBeat reverses encodeBeats, as far as it can: what is left out is announced again.
func decodeBeat(data []byte) (node string, states []state) {
	if len(data) == 0 || data[0] != version {
		return "", nil
	}
	r := reader{rest: data[1:]}
	node = string(r.field())
	for !r.bad && len(r.rest) > 0 {
		s := state{log: string(r.field()), member: r.number()}
		flags := r.bytes(1)
		s.pos, s.last, s.epoch = store.Pos(r.number()), r.number(), string(r.field())
		if r.bad {
			break
		}
		s.wants, s.leads = flags[0]&beatWants != 0, flags[0]&beatLeads != 0
		s.yields, s.gone = flags[0]&beatYields != 0, flags[0]&beatGone != 0
		if s.last > maxNumber {
			continue
		}
		states = append(states, s)
	}
	return node, states
}

// peer is another member with the same log, as it was heard last.
type peer struct {
	state
	heard time.Time
}
