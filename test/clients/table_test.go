//go:build integration

package clients_test

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
)

const introduction = `# Clients

Each cell is what a real client makes of the case through sse; behind it stands what it makes of an upstream that speaks
event streams itself, without sse, if that differs. The test of this folder compares all of it, and writes this file with
-update.

Clients that POST read one answer: they should show the whole of it and, if the upstream breaks off, notice. The others
read a stream: they should come back for the rest of it, and show each event once.

The upstream without sse does what a server has to do for the same: its shared streams begin with an id alone, and its
restart ends them with a retry alone. Where a note says that a client makes an event of these, a server that says neither
spares it that.

`

// known says of cells that are not as they should be why they stay so, by client and case.
var known = map[string]map[string]string{
	"OpenAI, Go, old":          {"shared": emptyBlock + " It takes the event for an answer that is no JSON. The current version does not."},
	"fetch-event-source, POST": {"shared": emptyBlock},
	"fetch-event-source": {
		"shared":        emptyBlock,
		"reload":        cleanEnd + " " + lastRetry,
		"reload-passed": cleanEnd,
	},
	"sse.js, autoReconnect": {"end": after204},
	"tmaxmax/go-sse":        {"shared": emptyBlock, "reload": lastRetry, "large": limit},
	"r3labs/sse": {
		"shared":        emptyBlock,
		"reload":        cleanEnd + " " + lastRetry,
		"reload-passed": cleanEnd,
		"large":         limit,
	},
	"launchdarkly/eventsource": {"shared": emptyBlock, "reload": lastRetry, "end": after204},
}

const (
	emptyBlock = "A shared stream begins with a block that has an id and no data. The client makes an event of it, and a browser does not."
	lastRetry  = "A stream that a reload ends has a last block with retry alone. The client makes an event of it, and a browser does not."
	cleanEnd   = "The client takes a clean end for the end of the stream, and does not come back as EventSource does."
	after204   = "The client comes back after a 204, which ends an EventSource for good."
	limit      = "The client reads no event of more than 64 KiB, unless it is told to."
)

func (m *matrix) table(t *testing.T) string {
	t.Helper()
	versions := versions(t)
	var text strings.Builder
	text.WriteString(introduction)
	text.WriteString("| client |")
	for _, c := range cases {
		text.WriteString(" " + c.title + " |")
	}
	text.WriteString("\n|---" + strings.Repeat("|---", len(cases)) + "|\n")
	var notes []string
	for i, client := range clients {
		text.WriteString("| " + strings.TrimSpace(client.title+" "+versions[client.library]) + " |")
		for j, c := range cases {
			cell := m.cells[i][j]
			words := cell.through
			if !client.fits(c) {
				words = "–"
			} else if cell.through != cell.without {
				words += " (without: " + cell.without + ")"
			}
			if why := known[client.title][c.name]; why != "" {
				if !slices.Contains(notes, why) {
					notes = append(notes, why)
				}
				words += fmt.Sprintf(" [%d]", slices.Index(notes, why)+1)
			}
			text.WriteString(" " + words + " |")
		}
		text.WriteString("\n")
	}
	text.WriteString("\n")
	for i, note := range notes {
		fmt.Fprintf(&text, "%d. %s\n", i+1, note)
	}
	return text.String()
}

// versions are those of package.json and go.mod.
func versions(t *testing.T) map[string]string {
	t.Helper()
	text, err := os.ReadFile("node/package.json")
	if err != nil {
		t.Fatal(err)
	}
	var npm struct{ Dependencies map[string]string }
	if err := json.Unmarshal(text, &npm); err != nil {
		t.Fatal(err)
	}
	versions := make(map[string]string)
	for name, version := range npm.Dependencies {
		versions[name] = version[strings.LastIndex(version, "@")+1:]
	}
	modules, err := os.ReadFile("goclients/go.mod")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(modules)) {
		if path, version, ok := strings.Cut(strings.TrimSpace(line), " v"); ok {
			versions[path] = version
		}
	}
	return versions
}

// compare reports the rows that differ.
func compare(t *testing.T, expected, got string) {
	t.Helper()
	if expected == got {
		return
	}
	want := strings.Split(expected, "\n")
	for i, line := range strings.Split(got, "\n") {
		if i >= len(want) {
			t.Errorf("line %d of the table is new:\n%s", i+1, line)
		} else if line != want[i] {
			t.Errorf("line %d of the table is\n%s\nand in matrix.md\n%s", i+1, line, want[i])
		}
	}
}
