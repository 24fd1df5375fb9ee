package sse_test

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/seed-4dedbcea/caddy-sse/internal/caddykit/metrics"
	"github.com/seed-4dedbcea/caddy-sse/internal/core/fleet"
	"github.com/seed-4dedbcea/caddy-sse/internal/core/frame"
	"github.com/seed-4dedbcea/caddy-sse/internal/engine/stream"
)

func TestTheDocumentationsJSONIsAConfigThatCaddyTakes(t *testing.T) {
	n := 0
	for _, b := range blocks(t, isManual) {
		if b.language == "json" {
			n++
			validate(t, []byte(b.text))
		}
	}
	if n == 0 {
		t.Error("there is no JSON")
	}
}

func TestTheExampleIsOneThatCaddyTakesCommentedOutSitesToo(t *testing.T) {
	example, err := os.ReadFile("Caddyfile.example")
	if err != nil {
		t.Fatal(err)
	}
	adapted, err := adapt(t, string(example))
	if err != nil {
		t.Fatal(err)
	}
	validate(t, adapted)

	_, more, found := strings.Cut(string(example), "put your own address in.\n")
	if !found {
		t.Fatal("no sites commented out")
	}
	var sites strings.Builder
	for line := range strings.Lines(more) {
		if code, ok := strings.CutPrefix(line, "# "); ok && (strings.HasPrefix(code, "http://") || strings.HasPrefix(code, "\t") || code == "}\n") {
			sites.WriteString(code)
		}
	}
	if adapted, err = adapt(t, sites.String()); err != nil {
		t.Fatalf("%s\n%v", sites.String(), err)
	}
	validate(t, adapted)
}

// TestTheDocumentationNamesEveryMetricAndReason: metrics and the reasons of ends and refusals where operators look them up, those of
// control events in the reference.
func TestTheDocumentationNamesEveryMetricAndReason(t *testing.T) {
	operating := slices.Concat(stream.EndReasons, metrics.Refusals)
	for _, c := range slices.Concat(metrics.Collectors(), metrics.StoreCollectors()) {
		described := make(chan *prometheus.Desc, 1)
		c.Describe(described)
		operating = append(operating, regexp.MustCompile(`fqName: "(\w+)"`).FindStringSubmatch((<-described).String())[1])
	}
	for page, names := range map[string][]string{
		"docs/operating.md": operating,
		"docs/reference.md": {frame.GapRecordTooLarge, frame.GapHistory, frame.GapLag, frame.GapUpstream, fleet.GapStore, "invalid_record"},
	} {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			if !regexp.MustCompile("`" + name + "[`{]").Match(text) {
				t.Errorf("%s is not in %s", name, page)
			}
		}
	}
}
