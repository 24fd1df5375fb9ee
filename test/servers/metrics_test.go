package servers_test

import (
	"encoding/json"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/seed-4dedbcea/caddy-sse/internal/caddykit/metrics"
)

// knownMetrics are the names of our metrics, each with its labels.
func knownMetrics() map[string][]string {
	all := make(map[string][]string)
	for _, c := range slices.Concat(metrics.Collectors(), metrics.StoreCollectors()) {
		described := make(chan *prometheus.Desc, 1)
		c.Describe(described)
		m := regexp.MustCompile(`fqName: "(\w+)".*variableLabels: \{([\w,]*)\}`).FindStringSubmatch((<-described).String())
		name, labels := m[1], strings.Split(m[2], ",")
		_, isHistogram := c.(prometheus.Histogram)
		_, areHistograms := c.(*prometheus.HistogramVec)
		if isHistogram || areHistograms {
			name, labels = name+"_bucket", append(labels, "le")
		}
		all[name] = labels
	}
	return all
}

// expressions are the queries of the dashboard.
func expressions(t *testing.T) []string {
	t.Helper()
	var dashboard struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
	}
	if err := json.Unmarshal([]byte(readExample(t, "grafana-dashboard.json")), &dashboard); err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, panel := range dashboard.Panels {
		if len(panel.Targets) == 0 {
			t.Errorf("panel %s shows nothing", panel.Title)
		}
		for _, target := range panel.Targets {
			all = append(all, target.Expr)
		}
	}
	return all
}

func TestDashboardAndAlertsUseMetricsThatThereAre(t *testing.T) {
	known := knownMetrics()
	shown := make(map[string]bool)
	check := func(where, text string) {
		names := regexp.MustCompile(`caddy_sse_\w+`).FindAllString(text, -1)
		if len(names) == 0 {
			t.Errorf("%s has no metric of ours: %s", where, text)
		}
		labels := []string{"instance", "job"} // Prometheus gives them
		for _, name := range names {
			of, ok := known[name]
			if !ok {
				t.Errorf("%s uses %s, which is none of ours", where, name)
			}
			labels = append(labels, of...)
			shown[name] = true
		}
		for _, by := range regexp.MustCompile(`by \(([^)]*)\)|(\w+)=~?"`).FindAllStringSubmatch(text, -1) {
			for label := range strings.SplitSeq(by[1]+by[2], ",") {
				if label = strings.TrimSpace(label); !slices.Contains(labels, label) {
					t.Errorf("%s uses label %s, which %v do not have", where, label, names)
				}
			}
		}
	}
	for _, expression := range expressions(t) {
		check("dashboard", expression)
	}
	for name := range known {
		if !shown[name] {
			t.Errorf("the dashboard does not show %s", name)
		}
	}
	for _, rule := range strings.Split(readExample(t, "alerts.yml"), "- alert:")[1:] {
		check("alert"+rule[:strings.Index(rule, "\n")], rule)
	}
}
