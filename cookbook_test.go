package sse_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/seed-4dedbcea/caddy-sse/internal/ssetest"
)

// TestEachRowOfTheCookbookMakesItsEventOfItsRecord runs the table of docs/templates.md: options, a record, the lines of the event.
func TestEachRowOfTheCookbookMakesItsEventOfItsRecord(t *testing.T) {
	ssetest.NoLeaks(t)
	page, err := os.ReadFile("docs/templates.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(page), "\n## A cookbook\n")
	table, _, _ = strings.Cut(table, "\n## ")
	type row struct{ options, record, event string }
	var rows []row
	for _, m := range regexp.MustCompile("(?m)^\\| `(.+?)` \\| `(.+?)` \\| (.+) \\|$").FindAllStringSubmatch(table, -1) {
		var event strings.Builder
		for _, line := range inCode.FindAllStringSubmatch(m[3], -1) {
			event.WriteString(line[1] + "\n")
		}
		if event.Len() == 0 && m[3] != "none" {
			t.Errorf("no event: %s", m[0])
		}
		rows = append(rows, row{strings.ReplaceAll(m[1], `\|`, "|"), m[2], event.String()})
	}
	if all := strings.Count(table, "\n| `"); len(rows) != all || all < 25 {
		t.Fatalf("%d of %d rows were understood", len(rows), all)
	}

	dir := t.TempDir()
	config := "http://localhost:{{port \"http\"}} {\n"
	for n, r := range rows {
		file := filepath.Join(dir, fmt.Sprint(n))
		if err := os.WriteFile(file, []byte(r.record+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		config += fmt.Sprintf("sse /%d {\nbackend exec cat %s\n%s\n}\n", n, file, r.options)
	}
	server := ssetest.Start(t, config+"}\n")
	client := ssetest.Client(t, "h1")
	for n, r := range rows {
		s := ssetest.Get(t, client, server.URL("h1", fmt.Sprint("/", n)))
		if err := s.WaitEnd(); err != nil || s.Status != http.StatusOK {
			t.Fatalf("%s: %d, %v", r.options, s.Status, err)
		}
		got := regexp.MustCompile(`(?m)^(:.*)?\n`).ReplaceAllString(s.Raw(), "")
		if got != strings.ReplaceAll(r.event, "data:\n", "data: \n") && got != r.event {
			t.Errorf("%s makes of %s\n%q, want\n%q", r.options, r.record, got, r.event)
		}
	}
}
