package sse_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestTheBackendInTheDocumentationWorks builds the files of docs/backends.md as a module of their own, as a reader would,
// and runs their tests.
func TestTheBackendInTheDocumentationWorks(t *testing.T) {
	page, err := os.ReadFile("docs/backends.md")
	if err != nil {
		t.Fatal(err)
	}
	root, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	files := regexp.MustCompile("(?s)\n`([^`\n]+)`:\n\n```\\w+\n(.*?)```").FindAllStringSubmatch(string(page), -1)
	if blocks := strings.Count(string(page), "\n```") / 2; len(files) != blocks || blocks < 4 {
		t.Fatalf("%d of %d blocks have the name of a file", len(files), blocks)
	}
	for _, file := range files {
		write(file[1], file[2])
	}

	// The same versions as here, so that nothing is downloaded.
	for _, name := range []string{"go.mod", "go.sum"} {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		write(name, string(text))
	}
	for _, args := range [][]string{
		{"mod", "edit", "-module", "example.com/redis", "-require", "github.com/seed-4dedbcea/caddy-sse@v0.0.0", "-replace", "github.com/seed-4dedbcea/caddy-sse=" + root},
		{"vet", "./..."},
		{"test", "./..."},
		{"run", "./cmd/caddy", "validate", "--config", "Caddyfile"},
	} {
		cmd := exec.Command("go", args...)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "GOFLAGS=-mod=mod", "GOPROXY=off", "GOWORK=off")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("go %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
}
