package sim_test

import (
	"fmt"
	"strings"
)

// mapping says how records become events, as options of a config and as Go code.
type mapping struct {
	name      string
	caddyfile string
	perClient bool

	// Each function is nil if the config does not have the option.
	where func(record, who) bool
	data  func(r record, seq string, c who) string // seq is the number that the event's id has
	event func(record) string
	id    func(record, who) string

	repeats bool // ids are not unique
	seq     bool // data has the record's number
}

// who describes a client. The description is in its query.
type who struct{ name, kind, scheme string }

func (c who) query() string { return "who=" + c.name + "&k=" + c.kind }

func template(r record) string {
	return strings.Join([]string{`{"u":"` + r.tag + `","c":` + fmt.Sprint(r.conn) + `,"n":` + fmt.Sprint(r.n) + `,`, r.kind(), r.pad()}, " ")
}

// head is the part of a template that parseRecord needs.
const head = `\{"u":"{record.u}","c":{record.c},"n":{record.n},`

var mappings = map[string]*mapping{
	"plain": {},
	"template": {
		caddyfile: "data `" + head + " {record.k} {record.pad}`\nevent {record.k}",
		data:      func(r record, _ string, _ who) string { return template(r) },
		event:     func(r record) string { return r.kind() },
	},
	"seventh": {
		caddyfile: "where `record.n % 7 == 3`",
		where:     func(r record, _ who) bool { return r.n%7 == 3 },
	},
	"no EUR": {
		caddyfile: "where `record.k != \"EUR\"`\nevent {record.k}",
		where:     func(r record, _ who) bool { return r.kind() != "EUR" },
		event:     func(r record) string { return r.kind() },
	},
	"rare": {
		caddyfile: "where `record.n % 97 == 0`",
		where:     func(r record, _ who) bool { return r.n%97 == 0 },
	},
	"numbered": {
		caddyfile: "data `{seq} {record}`",
		data:      func(r record, seq string, _ who) string { return seq + " " + r.text() },
		seq:       true,
	},
	"own id": {
		caddyfile: "id r{record.c}.{record.n}",
		id:        func(r record, _ who) string { return r.id() },
	},
	"own id, no EUR": {
		caddyfile: "id r{record.c}.{record.n}\nwhere `record.k != \"EUR\"`",
		where:     func(r record, _ who) bool { return r.kind() != "EUR" },
		id:        func(r record, _ who) string { return r.id() },
	},
	"id that repeats": {
		caddyfile: "id {record.k}",
		id:        func(r record, _ who) string { return r.kind() },
		repeats:   true,
	},
	"its kind": {
		caddyfile: "where `record.k == {query.k}`",
		perClient: true,
		where:     func(r record, c who) bool { return r.kind() == c.kind },
	},
	"named": {
		caddyfile: "data `{query.who} {record}`\nevent {record.k}",
		perClient: true,
		data:      func(r record, _ string, c who) string { return c.name + " " + r.text() },
		event:     func(r record) string { return r.kind() },
	},
	"id for each": {
		caddyfile: "id {query.who}.{record.c}.{record.n}\nwhere `record.k != {query.k}`",
		perClient: true,
		where:     func(r record, c who) bool { return r.kind() != c.kind },
		id:        func(r record, c who) string { return c.name + "." + strings.TrimPrefix(r.id(), "r") },
	},
}

func init() {
	for name, m := range mappings {
		m.name = name
	}
}

func (m *mapping) matches(r record, c who) bool { return m.where == nil || m.where(r, c) }

// wants returns the expected type and data of a record's event.
func (m *mapping) wants(r record, seq string, c who) (kind, data string) {
	kind, data = "message", ""
	if m.event != nil {
		kind = m.event(r)
	}
	if m.data == nil {
		return kind, r.text()
	}
	return kind, m.data(r, seq, c)
}

// key returns the same text for clients that must get the same event for an id.
func (m *mapping) key(c who) string {
	if m.perClient {
		return m.name + "|" + c.query()
	}
	return m.name
}
