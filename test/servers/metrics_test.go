package servers_test

import (
	"encoding/json"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// metrics are the names that metrics.go registers, each with its labels.
func metrics(t *testing.T) map[string][]string {
	t.Helper()
	source, err := os.ReadFile("../../metrics.go")
	if err != nil {
		t.Fatal(err)
	}
	all := make(map[string][]string)
	for _, m := range regexp.MustCompile(`(gauge|counter|histogram|addedUp|measured)\("(\w+)", "[^"]*"(?:, "(\w+)")?[,)]`).FindAllStringSubmatch(string(source), -1) {
		name, labels := "caddy_sse_"+m[2], append(strings.Fields(m[3]), "name")
		if m[1] == "histogram" {
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
	known := metrics(t)
	shown := make(map[string]bool)
	check := func(where, text string) {
		names := regexp.MustCompile(`caddy_sse_\w+`).FindAllString(text, -1)
		if len(names) == 0 {
			t.Errorf("%s has no metric of ours: %s", where, text)
		}
		labels := []string{"instance"} // Prometheus gives it
		for _, name := range names {
			of, ok := known[name]
			if !ok {
				t.Errorf("%s uses %s, which is not in metrics.go", where, name)
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
