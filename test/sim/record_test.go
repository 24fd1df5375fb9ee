package sim_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"strconv"
	"strings"
)

// record is a record from an upstream. Its content follows from these three fields, so that a client can check whether it is complete.
type record struct {
	tag  string // the tag of the upstream
	conn int    // the connection
	n    int    // its number on the connection, from 1, without holes
}

// A tag is the name of an upstream, a dot, and letters that say how it behaves.
const (
	fat           = "f" // records of up to 30 KB
	resumes       = "s" // its records have ids, and it resumes after the last id
	resumesMapped = "g" // it resumes after an id from the config's template
	ends          = "e" // each connection ends for good after some records
	calm          = "c" // its connections do not end by themselves
)

func behaves(tag, how string) bool {
	_, letters, _ := strings.Cut(tag, ".")
	return strings.Contains(letters, how)
}

var kinds = []string{"EUR", "USD", "GBP", "CHF"}

func (r record) kind() string { return kinds[(r.n*7+r.conn)%len(kinds)] }

// pieces are texts that are hard to carry in an event's data.
var pieces = []string{
	"data: ", "\n", "\n\n", "id: 9", ": comment", "über", "🙂", "\\", "\"", "event: x\n", "\u2028", "<b>&", " ", "\t", "retry: 1", "0123456789abcdef",
}

func (r record) pad() string {
	random := rand.New(rand.NewPCG(hash(r.tag), uint64(r.conn)<<32|uint64(r.n)))
	size := random.IntN(120)
	if behaves(r.tag, fat) {
		size = 2000 + random.IntN(4000)
		if random.IntN(2) == 0 {
			size = random.IntN(30_000)
		}
	}
	var b strings.Builder
	for b.Len() < size {
		b.WriteString(pieces[random.IntN(len(pieces))])
	}
	return b.String()
}

// text returns the record as the upstream sends it, without a line end.
func (r record) text() string {
	var pad bytes.Buffer
	encoder := json.NewEncoder(&pad)
	encoder.SetEscapeHTML(false)
	_ = encoder.Encode(r.pad())
	return fmt.Sprintf(`{"u":"%s","c":%d,"n":%d,"k":"%s","pad":%s}`, r.tag, r.conn, r.n, r.kind(), bytes.TrimSuffix(pad.Bytes(), []byte("\n")))
}

// id returns the record's id, from a mapping in the config or from an upstream that resumes.
func (r record) id() string { return fmt.Sprintf("r%d.%d", r.conn, r.n) }

// parseID parses an id made by id.
func parseID(id string) (conn, n int, ok bool) {
	id, ok = strings.CutPrefix(id, "r")
	if !ok {
		return 0, 0, false
	}
	first, second, ok := strings.Cut(id, ".")
	conn, err1 := strconv.Atoi(first)
	n, err2 := strconv.Atoi(second)
	return conn, n, ok && err1 == nil && err2 == nil
}

// parseRecord returns the record that an event's data was made from.
func parseRecord(data string) (r record, ok bool) {
	_, data, ok = strings.Cut(data, `{"u":"`)
	if !ok {
		return r, false
	}
	r.tag, data, ok = strings.Cut(data, `","c":`)
	if !ok {
		return r, false
	}
	conn, data, ok := strings.Cut(data, `,"n":`)
	if !ok {
		return r, false
	}
	n, _, ok := strings.Cut(data, `,`)
	if !ok {
		return r, false
	}
	var err1, err2 error
	r.conn, err1 = strconv.Atoi(conn)
	r.n, err2 = strconv.Atoi(n)
	return r, err1 == nil && err2 == nil
}

func hash(parts ...string) uint64 {
	h := fnv.New64a()
	for _, part := range parts {
		fmt.Fprintf(h, "%d:%s", len(part), part)
	}
	return h.Sum64()
}
