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

	runAsModule(t, dir, "example.com/redis", []string{"vet", "./..."}, []string{"test", "./..."}, []string{"run", "./cmd/caddy", "validate", "--config", "Caddyfile"})
}

// TestTheClockOfTheExamplesIsAModuleOfItsOwn copies examples/clock, as somebody would who begins with it.
func TestTheClockOfTheExamplesIsAModuleOfItsOwn(t *testing.T) {
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS("examples/clock")); err != nil {
		t.Fatal(err)
	}
	runAsModule(t, dir, "example.com/clock", []string{"vet", "./..."}, []string{"test", "./..."})
}

// runAsModule runs go commands in a folder, which becomes a module with this repository as its only need. It has the same
// versions of everything else, so that nothing is downloaded.
func runAsModule(t *testing.T, dir, name string, commands ...[]string) {
	t.Helper()
	root, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{"go.mod", "go.sum"} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, file), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	edit := []string{"mod", "edit", "-module", name, "-require", "github.com/seed-4dedbcea/caddy-sse@v0.0.0", "-replace", "github.com/seed-4dedbcea/caddy-sse=" + root}
	for _, args := range append([][]string{edit}, commands...) {
		cmd := exec.Command("go", args...)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "GOFLAGS=-mod=mod", "GOPROXY=off", "GOWORK=off")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("go %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
}
