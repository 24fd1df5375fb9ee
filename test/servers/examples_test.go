// Package servers_test holds the examples to what they promise: with the real servers that they are for (build tag
// integration; apt-get installs them, the tests start and stop them), and by themselves.
package servers_test

import (
	"os"
	"path/filepath"
	"testing"

	_ "github.com/seed-4dedbcea/caddy-sse"
)

func readExample(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("../../examples", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
