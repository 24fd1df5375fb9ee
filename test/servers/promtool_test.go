//go:build integration

package servers_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/seed-4dedbcea/caddy-sse/internal/ssetest"
)

func TestPrometheusTakesAlertsAndQueriesOfTheDashboard(t *testing.T) {
	run(t, "promtool", "check", "rules", filepath.FromSlash("../../examples/alerts.yml"))

	var rules strings.Builder
	rules.WriteString("groups:\n  - name: dashboard\n    rules:\n")
	for i, expression := range expressions(t) {
		// Grafana puts in what begins with a dollar sign.
		fmt.Fprintf(&rules, "      - record: query_%d\n        expr: %q\n", i, strings.ReplaceAll(expression, "$__rate_interval", "1m"))
	}
	run(t, "promtool", "check", "rules", write(t, "dashboard.yml", rules.String()))
}

// TestAlertsFireForWhatTheirNamesSay; a record for which where fails is not lost, for example.
func TestAlertsFireForWhatTheirNamesSay(t *testing.T) {
	for _, c := range []struct {
		what   string
		series map[string]string
		fires  []string
	}{
		{"where fails for some records, as others are sent", map[string]string{
			`caddy_sse_records_dropped_total{instance="a",name="n",reason="where_failed"}`: "0+60x90",
			`caddy_sse_events_total{instance="a",name="n"}`:                                "0+60x90",
			`caddy_sse_streams_active{instance="a",name="n"}`:                              "1x90",
		}, nil},
		{"where fails for all records", map[string]string{
			`caddy_sse_records_dropped_total{instance="a",name="n",reason="where_failed"}`: "0+60x90",
			`caddy_sse_events_total{instance="a",name="n"}`:                                "5x90",
			`caddy_sse_streams_active{instance="a",name="n"}`:                              "1x90",
		}, []string{"SSEWhereFails", "SSENoEvents"}},
		{"records are too large", map[string]string{
			`caddy_sse_records_dropped_total{instance="a",name="n",reason="record_too_large"}`: "0+1x90",
		}, []string{"SSERecordsAreLost"}},
		{"one of two sources is down", map[string]string{
			`caddy_sse_source_up{instance="a",name="n"}`: "1x30 0x60",
			`caddy_sse_source_up{instance="a",name="m"}`: "1x90",
		}, []string{"SSESourceIsDown"}},
		{"a source connects anew", map[string]string{`caddy_sse_source_up{instance="a",name="n"}`: "1x80 0x0 1x9"}, nil},
		{"max_streams is reached", map[string]string{
			`caddy_sse_streams_refused_total{instance="a",name="n",reason="max_streams"}`: "0+1x90",
		}, []string{"SSEStreamsAreRefused"}},
		{"a store cannot be used", map[string]string{
			`caddy_sse_store_up{instance="a",store="nats"}`: "1x80 0x9",
			`caddy_sse_store_up{instance="b",store="nats"}`: "1x90",
		}, []string{"SSEStoreIsDown"}},
		{"a store is away for a moment", map[string]string{`caddy_sse_store_up{instance="a",store="nats"}`: "1x89 0x0"}, nil},
		{"instances take upstreams over from each other", map[string]string{
			`caddy_sse_source_takeovers_total{instance="a",job="j",reason="expired"}`:  "0+1x90",
			`caddy_sse_source_takeovers_total{instance="b",job="j",reason="resigned"}`: "0+1x90",
			`caddy_sse_sources_leading{instance="a",job="j"}`:                          "1x90",
			`caddy_sse_sources_leading{instance="b",job="j"}`:                          "0x90",
		}, []string{"SSEUpstreamChangesHandsOften"}},
		{"many sources begin, and a deploy hands them over", map[string]string{
			`caddy_sse_source_takeovers_total{instance="a",job="j",reason="first"}`:    "0+9x90",
			`caddy_sse_source_takeovers_total{instance="b",job="j",reason="resigned"}`: "0x85 100x5",
			`caddy_sse_sources_leading{instance="b",job="j"}`:                          "0x85 100x5",
		}, nil},
		{"nobody has the upstream", map[string]string{
			`caddy_sse_sources_leading{instance="a",job="j"}`:         "1x80 0x9",
			`caddy_sse_sources_leading{instance="b",job="j"}`:         "0x90",
			`caddy_sse_sources_active{instance="b",job="j",name="n"}`: "1x90",
			`caddy_sse_streams_active{instance="b",job="j",name="n"}`: "0x90",
			`caddy_sse_streams_active{instance="b",job="j",name="m"}`: "3x90",
			`caddy_sse_events_total{instance="b",job="j",name="m"}`:   "0+60x90",
		}, []string{"SSENobodyLeads"}},
		{"a source without a client has no upstream", map[string]string{
			`caddy_sse_sources_leading{instance="a",job="j"}`:         "0x90",
			`caddy_sse_sources_active{instance="a",job="j",name="n"}`: "1x90",
			`caddy_sse_streams_active{instance="a",job="j",name="n"}`: "0x90",
		}, nil},
		{"records are fenced", map[string]string{`caddy_sse_records_fenced_total{instance="a"}`: "0x80 5x9"}, []string{"SSERecordsAreFenced"}},
		{"clients want something else", map[string]string{
			`caddy_sse_streams_refused_total{instance="a",name="n",reason="accept"}`: "0+1x90",
		}, nil},
	} {
		t.Run(c.what, func(t *testing.T) {
			rules, err := filepath.Abs("../../examples/alerts.yml")
			if err != nil {
				t.Fatal(err)
			}
			var test strings.Builder
			fmt.Fprintf(&test, "rule_files: [%q]\nevaluation_interval: 1m\ntests:\n  - interval: 1m\n    input_series:\n", rules)
			for series, values := range c.series {
				fmt.Fprintf(&test, "      - series: %q\n        values: %q\n", series, values)
			}
			// Prometheus has a series of its own for each alert.
			test.WriteString("    promql_expr_test:\n      - expr: 'count by (alertname) (ALERTS{alertstate=\"firing\"})'\n        eval_time: 90m\n        exp_samples:\n")
			for _, name := range c.fires {
				fmt.Fprintf(&test, "          - labels: '{alertname=%q}'\n            value: 1\n", name)
			}
			run(t, "promtool", "test", "rules", write(t, "test.yml", test.String()))
		})
	}
}

func TestPrometheusStoresNoNameWhereTheConfigGivesNone(t *testing.T) {
	admin, address := freeAddress(t), freeAddress(t)
	site := fmt.Sprintf("{\n\tadmin %s\n}\nhttp://localhost:%d {\n\thandle /named {\n\t\tsse {\n\t\t\tname prices\n\t\t\tbackend file %[3]s\n\t\t}\n\t}\n\thandle {\n\t\tsse {\n\t\t\tbackend file %[3]s\n\t\t}\n\t}\n}\n",
		admin, ssetest.FreePort(t), write(t, "log", ""))
	startCommand(t, caddyCommand(t, "run", "--adapter", "caddyfile", "--config", write(t, "Caddyfile", site))).waitListening(t, admin)
	config := write(t, "prometheus.yml", "global:\n  scrape_interval: 1s\nscrape_configs:\n  - job_name: caddy\n    static_configs:\n      - targets: ['"+admin+"']\n")
	start(t, "prometheus", "--config.file", config, "--storage.tsdb.path", t.TempDir(), "--web.listen-address", address).waitListening(t, address)

	names := func(query string) string {
		response, err := http.Get("http://" + address + "/api/v1/query?query=" + url.QueryEscape(query))
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		if response.StatusCode != http.StatusOK {
			return "" // it does not answer before it has read what it has stored
		}
		var answer struct {
			Data struct {
				Result []struct{ Metric map[string]string }
			}
		}
		if err := json.NewDecoder(response.Body).Decode(&answer); err != nil {
			t.Fatal(err)
		}
		var all []string
		for _, r := range answer.Data.Result {
			name, has := r.Metric["name"]
			all = append(all, fmt.Sprintf("%s %t", name, has))
		}
		slices.Sort(all)
		return strings.Join(all, ", ")
	}
	ssetest.Wait(t, "the metrics to be scraped", func() bool { return names("caddy_sse_streams_active") != "" })
	if got, want := names("caddy_sse_streams_active"), " false, prices true"; got != want {
		t.Errorf("series have the names %q, want %q", got, want)
	}
}
