//go:build integration

package servers_test

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
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
