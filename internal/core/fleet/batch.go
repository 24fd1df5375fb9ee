package fleet

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"iter"
	"strings"
	"time"

	"github.com/seed-4dedbcea/caddy-sse/store"
)

// kind says what a message is.
type kind byte

const (
	isRecords kind = iota + 1
	isOpened       // a process has taken the source over: an epoch begins
	isOver         // the upstream has come to its end, for good
)

// batch is a message of a log.
type batch struct {
	kind  kind
	epoch string
	node  string // of the process that wrote it
	nonce uint64 // with node, tells it from every other
	at    time.Time

	after uint64 // the mark of the message before it, so that one that is missing is noticed
	first uint64 // number of its first record or, if it has none, of the next one
	count uint64 // of its records

	position Position // of the upstream before it
	losses   uint64   // how often the store has been found to have lost messages
	text     string   // if over: what has gone wrong; empty after a clean end

	entries []byte // of records and gaps, see appendEntry
}

// mark tells a message from others. It is no place in a log: a store that has lost messages may give their places again.
func (b *batch) mark() uint64 {
	h := fnv.New64a()
	h.Write(appendField(nil, []byte(b.node)))
	h.Write(binary.AppendUvarint(nil, b.nonce))
	return h.Sum64()
}

// markOf returns the mark of a message, 0 of none.
func markOf(msg store.Message) uint64 {
	b, err := decode(msg.Data)
	if err != nil {
		return 0
	}
	return b.mark()
}

// last returns the number of the last record so far.
func (b *batch) last() uint64 { return b.first - 1 + b.count }

// Position is where an upstream stands.
type Position struct {
	LastID []byte
	Own    bool // the id is the upstream's own, so that the upstream can continue after it
}

// Entry is a record, or something between records, such as a gap. Only the Source knows the meaning of its data.
type Entry struct {
	Data     []byte
	Numbered bool // it is a record, and takes a number
}

// version is the first byte of a message. A member does not read messages of a higher version.
const version = 1

const flagOwn = 1

func (b *batch) encode() []byte {
	dst := make([]byte, 0, 96+len(b.epoch)+len(b.position.LastID)+len(b.text)+len(b.entries))
	var flags byte
	if b.position.Own {
		flags |= flagOwn
	}
	dst = append(dst, version, byte(b.kind), flags)
	dst = appendField(dst, []byte(b.epoch))
	dst = appendField(dst, []byte(b.node))
	dst = binary.AppendUvarint(dst, b.nonce)
	dst = binary.AppendUvarint(dst, uint64(b.at.UnixMilli()))
	dst = binary.AppendUvarint(dst, b.after)
	dst = binary.AppendUvarint(dst, b.first)
	dst = binary.AppendUvarint(dst, b.count)
	dst = binary.AppendUvarint(dst, b.losses)
	dst = appendField(dst, b.position.LastID)
	dst = appendField(dst, []byte(b.text))
	return append(dst, b.entries...)
}

var errForeign = errors.New("a message in the store is not one of this version of caddy-sse: give each application a prefix of its own")

// decode reverses encode. The batch refers to data.
func decode(data []byte) (*batch, error) {
	if len(data) < 3 || data[0] == 0 {
		return nil, errForeign
	}
	if data[0] > version {
		return nil, fmt.Errorf("%w: it has version %d", errForeign, data[0])
	}
	r := reader{rest: data[3:]}
	b := &batch{kind: kind(data[1])}
	b.epoch, b.node = string(r.field()), string(r.field())
	b.nonce, b.at = r.number(), time.UnixMilli(int64(r.number()))
	b.after, b.first, b.count, b.losses = r.number(), r.number(), r.number(), r.number()
	b.position = Position{LastID: r.field(), Own: data[2]&flagOwn != 0}
	b.text = string(r.field())
	b.entries = r.rest
	if r.bad || b.kind < isRecords || b.kind > isOver || !isEpoch(b.epoch) || b.first == 0 || b.first > maxNumber {
		return nil, errForeign
	}
	numbered, err := uint64(0), error(nil)
	for e := range eachEntry(b.entries, &err) {
		if e.Numbered {
			numbered++
		}
	}
	if err != nil || numbered != b.count {
		return nil, errForeign
	}
	return b, nil
}

// maxNumber bounds the numbers of records, so that nothing that anybody has written lets them overflow.
const maxNumber = 1 << 62

// isEpoch reports whether a member can have made this epoch. It becomes a part of the ids of events.
func isEpoch(epoch string) bool {
	const longest = 64
	return epoch != "" && len(epoch) <= longest && !strings.ContainsFunc(epoch, func(c rune) bool {
		return (c < '0' || c > '9') && (c < 'a' || c > 'z')
	})
}

// appendEntry appends an entry: its length and whether it is numbered, in one number, and its data.
func appendEntry(dst []byte, e Entry) []byte {
	head := uint64(len(e.Data)) << 1
	if e.Numbered {
		head |= 1
	}
	return append(binary.AppendUvarint(dst, head), e.Data...)
}

// eachEntry returns entries. It sets err if they cannot be read to their end.
func eachEntry(entries []byte, err *error) iter.Seq[Entry] {
	return func(yield func(Entry) bool) {
		r := reader{rest: entries}
		for len(r.rest) > 0 {
			head := r.number()
			data := r.bytes(head >> 1)
			if r.bad {
				*err = errForeign
				return
			}
			if !yield(Entry{Data: data, Numbered: head&1 != 0}) {
				return
			}
		}
	}
}

func appendField(dst, field []byte) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(field))), field...)
}

// reader reads fields. It never reads beyond its end.
type reader struct {
	rest []byte
	bad  bool
}

func (r *reader) number() uint64 {
	n, width := binary.Uvarint(r.rest)
	if width <= 0 {
		r.bad, r.rest = true, nil
		return 0
	}
	r.rest = r.rest[width:]
	return n
}

func (r *reader) bytes(n uint64) []byte {
	if n > uint64(len(r.rest)) {
		r.bad, r.rest = true, nil
		return nil
	}
	field := r.rest[:n:n]
	r.rest = r.rest[n:]
	return field
}

func (r *reader) field() []byte { return r.bytes(r.number()) }
