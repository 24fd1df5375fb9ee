//go:build browser

package browser

import (
	"image/png"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestThePictureOfTheFrontPageIsOneOfTheViewer takes it anew from Caddyfile.example, as it is. With SSE_PICTURE=1, the new one
// takes the place of the old one.
func TestThePictureOfTheFrontPageIsOneOfTheViewer(t *testing.T) {
	const committed = "../../docs/viewer.png"
	file := filepath.Join(t.TempDir(), "viewer.png")
	if os.Getenv("SSE_PICTURE") != "" {
		file = committed
	}
	c := &caddy{t: t, binary: build(t), config: "Caddyfile.example", dir: "../..", url: "http://localhost:8080"}
	run(t, exec.Command("npm", "ci", "--no-audit", "--no-fund"))
	c.start()
	defer c.stop()
	if faults := strings.TrimSpace(string(run(t, exec.Command("node", "picture.mjs", c.url+"/orders", file)))); faults != "[]" {
		t.Errorf("the page does what it may not: %s", faults)
	}

	sizes := make(map[string][2]int)
	for _, name := range []string{file, committed} {
		picture, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		defer picture.Close()
		decoded, err := png.Decode(picture)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		size := decoded.Bounds().Size()
		sizes[name] = [2]int{size.X, size.Y}
		if info, _ := picture.Stat(); info.Size() > 100<<10 {
			t.Errorf("%s has %d bytes", name, info.Size())
		}
	}
	if sizes[file] != sizes[committed] {
		t.Errorf("the pictures differ in size: %v", sizes)
	}
}
