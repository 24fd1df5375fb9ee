package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
)

// TestEveryConfigWithAStoreInTheDocumentationIsOneThatCaddyTakes: the root's tests have no stores, and leave these out.
func TestEveryConfigWithAStoreInTheDocumentationIsOneThatCaddyTakes(t *testing.T) {
	files, err := filepath.Glob("../../../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	taken := 0
	for _, file := range files {
		page, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, block := range regexp.MustCompile("(?s)```caddyfile\n(.*?)```").FindAllStringSubmatch(string(page), -1) {
			config := block[1]
			if !regexp.MustCompile(`(?m)^\s*store \w`).MatchString(config) {
				continue
			}
			taken++
			if strings.HasPrefix(config, "share") {
				config = "example.com {\nsse {\nbackend dial localhost:9000\n" + config + "}\n}\n"
			}
			adapted, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(config), map[string]any{"filename": "Caddyfile"})
			if err != nil {
				t.Errorf("%s: %v\n%s", filepath.Base(file), err, config)
			} else if !strings.Contains(string(adapted), `"store":{`) {
				t.Errorf("%s: there is no store in\n%s", filepath.Base(file), adapted)
			}
		}
	}
	if taken < 4 {
		t.Errorf("only %d configs have a store", taken)
	}
}

// TestEveryExampleWithAStoreIsAConfigThatCaddyTakes, and its proxy, too.
func TestEveryExampleWithAStoreIsAConfigThatCaddyTakes(t *testing.T) {
	for file, want := range map[string]string{"Caddyfile": `"store":{"name":"nats"`, "proxy.Caddyfile": `"selection_policy":{"policy":"round_robin"}`} {
		config, err := os.ReadFile("../../../examples/fleet/" + file)
		if err != nil {
			t.Fatal(err)
		}
		adapted, warnings, err := caddyconfig.GetAdapter("caddyfile").Adapt(config, map[string]any{"filename": file})
		if err != nil || len(warnings) > 0 || !strings.Contains(string(adapted), want) {
			t.Errorf("%s: %v, %v, %s", file, err, warnings, adapted)
		}
		var parsed caddy.Config
		if err := caddy.StrictUnmarshalJSON(adapted, &parsed); err != nil {
			t.Fatal(err)
		}
		if err := caddy.Validate(&parsed); err != nil {
			t.Errorf("%s: %v", file, err)
		}
	}
}
