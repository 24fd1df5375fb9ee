package sse_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/seed-4dedbcea/caddy-sse/internal/caddykit/metrics"
	"github.com/seed-4dedbcea/caddy-sse/internal/core/frame"
	"github.com/seed-4dedbcea/caddy-sse/internal/engine/stream"
)

// TestEveryConfigInTheREADMEIsOneThatCaddyTakes; its commands are run by .ci/readme.
func TestEveryConfigInTheREADMEIsOneThatCaddyTakes(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := regexp.MustCompile("(?s)```caddyfile\n(.*?)```").FindAllStringSubmatch(string(readme), -1)
	if len(blocks) < 10 {
		t.Fatalf("only %d blocks", len(blocks))
	}
	for _, block := range blocks {
		text := block[1]
		t.Run(strings.SplitN(text[strings.Index(text, "sse"):], "\n", 2)[0], func(t *testing.T) {
			t.Setenv("PASSWORD_HASH", passwordHash)
			// Not everybody may write there, and not every machine is in a cluster.
			text = strings.ReplaceAll(text, "/var/log/caddy", t.TempDir())
			text = regexp.MustCompile(`(?m)^\t*tls_trust_pool file .*$`).ReplaceAllString(text, "")
			adapted, err := adapt(t, text)
			if err != nil {
				t.Fatalf("%s\n%v", text, err)
			}
			validate(t, adapted)
		})
	}
}

// TestEveryProxyOfTheDocumentationIsFencedIn: a matcher of sse alone lets all other paths pass to its upstream.
func TestEveryProxyOfTheDocumentationIsFencedIn(t *testing.T) {
	t.Setenv("PASSWORD_HASH", passwordHash)
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	var configs []string
	for _, block := range regexp.MustCompile("(?s)```caddyfile\n(.*?)```").FindAllStringSubmatch(string(readme), -1) {
		configs = append(configs, block[1])
	}
	files, err := filepath.Glob("examples/*/Caddyfile")
	if err != nil || len(files) == 0 {
		t.Fatalf("there are no examples: %v", err)
	}
	for _, file := range append(files, "Caddyfile.example") {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		configs = append(configs, string(text))
	}
	proxies := 0
	for _, config := range configs {
		adapted, err := adapt(t, config)
		if err != nil {
			t.Fatalf("%s\n%v", config, err)
		}
		var tree any
		if err := json.Unmarshal(adapted, &tree); err != nil {
			t.Fatal(err)
		}
		var visit func(node any, fenced bool)
		visit = func(node any, fenced bool) {
			switch node := node.(type) {
			case []any:
				for _, child := range node {
					visit(child, fenced)
				}
			case map[string]any:
				if sets, ok := node["match"].([]any); ok && !slices.ContainsFunc(sets, func(set any) bool { _, has := set.(map[string]any)["path"]; return !has }) {
					fenced = true
				}
				if handler := node["handler"]; handler == "reverse_proxy" || handler == "php_fastcgi" {
					if proxies++; !fenced {
						t.Errorf("a proxy takes every path:\n%s", config)
					}
				}
				for _, child := range node {
					visit(child, fenced)
				}
			}
		}
		visit(tree, false)
	}
	if proxies == 0 {
		t.Error("there is no proxy at all")
	}
}

func TestTheREADMEsJSONIsAConfigThatCaddyTakes(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := regexp.MustCompile("(?s)```json\n(.*?)```").FindAllSubmatch(readme, -1)
	if len(blocks) != 1 {
		t.Fatalf("%d blocks", len(blocks))
	}
	validate(t, blocks[0][1])
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

func TestTheREADMENamesEveryMetricAndReason(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	names := slices.Concat(stream.EndReasons, metrics.Refusals, []string{frame.GapRecordTooLarge, frame.GapHistory, frame.GapLag, frame.GapUpstream, "invalid_record"})
	for _, c := range metrics.Collectors() {
		described := make(chan *prometheus.Desc, 1)
		c.Describe(described)
		names = append(names, regexp.MustCompile(`fqName: "(\w+)"`).FindStringSubmatch((<-described).String())[1])
	}
	for _, name := range names {
		if !regexp.MustCompile("`" + name + "[`{]").Match(readme) {
			t.Errorf("%s is not in it", name)
		}
	}
}

func TestTheREADMENamesEveryOption(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	source, err := os.ReadFile("caddyfile.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, match := range regexp.MustCompile(`case "([a-z_]+)":`).FindAllStringSubmatch(string(source), -1) {
		if option := match[1]; !regexp.MustCompile("[`\t]" + option + "[` \n]").Match(readme) {
			t.Errorf("%s is not in it", option)
		}
	}
}
