// Package servers_test holds the examples to what they promise: with the real servers that they are for (build tag
// integration; apt-get installs them, the tests start and stop them), and by themselves.
package servers_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	_ "github.com/seed-4dedbcea/caddy-sse"
	"github.com/seed-4dedbcea/caddy-sse/internal/ssetest"
)

func readExample(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("../../examples", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestExamplesAreConfigsAsCaddyFormatsThem(t *testing.T) {
	examples, err := filepath.Glob("../../examples/*/Caddyfile")
	if err != nil || len(examples) == 0 {
		t.Fatalf("there are no examples: %v", err)
	}
	for _, path := range examples {
		name := filepath.Base(filepath.Dir(path))
		t.Run(name, func(t *testing.T) {
			text := readExample(t, name+"/Caddyfile")
			if _, err := ssetest.Adapt(text); err != nil {
				t.Error(err)
			}
			if formatted := string(caddyfile.Format([]byte(text))); formatted != text {
				t.Errorf("is not formatted: run caddy fmt --overwrite on it")
			}
		})
	}
}
