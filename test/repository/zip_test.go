package repository_test

import (
	"archive/zip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/mod/module"
	modzip "golang.org/x/mod/zip"
)

// TestTheModuleIsASmallDownload makes the zip that Go's proxy would have of the root's module, from the last commit. Folders
// with a go.mod of their own are no part of it.
func TestTheModuleIsASmallDownload(t *testing.T) {
	file, err := os.Create(filepath.Join(t.TempDir(), "module.zip"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	version := module.Version{Path: "github.com/seed-4dedbcea/caddy-sse", Version: "v1.0.0"}
	tree := t.TempDir()
	if said, err := exec.Command("sh", "-c", "git -C '"+root+"' archive HEAD | tar -x -C '"+tree+"'").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, said)
	}
	if err := modzip.CreateFromDir(file, version, tree); err != nil {
		t.Fatal(err)
	}
	info, err := file.Stat()
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d KiB", info.Size()>>10)
	if info.Size() > 1<<20 {
		t.Errorf("the module's zip has %d bytes, more than 1 MiB", info.Size())
	}
	content, err := zip.NewReader(file, info.Size())
	if err != nil {
		t.Fatal(err)
	}
	there := make(map[string]bool)
	for _, f := range content.File {
		name := strings.TrimPrefix(f.Name, version.String()+"/")
		there[name] = true
		for _, folder := range []string{"bench/", "stores/", "test/clients/goclients/", "test/clients/node/", "test/repository/"} {
			if strings.HasPrefix(name, folder) || strings.Contains(name, "node_modules/") {
				t.Errorf("%s is in it", name)
			}
		}
	}
	for _, name := range []string{"LICENSE", "README.md", "module.go", "cmd/caddy/main.go", "backend/backend.go"} {
		if !there[name] {
			t.Errorf("%s is not in it", name)
		}
	}
}
