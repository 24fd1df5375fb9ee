//go:build browser

package browser

import (
	"cmp"
	"image"
	"image/color"
	"image/draw"
	"image/png"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
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

	shrink(t, file)
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
		if info, _ := picture.Stat(); info.Size() > 50<<10 {
			t.Errorf("%s has %d bytes", name, info.Size())
		}
	}
	if sizes[file] != sizes[committed] {
		t.Errorf("the pictures differ in size: %v", sizes)
	}
}

// TestTheViewerIsAccessibleInEachState needs no Caddy.
func TestTheViewerIsAccessibleInEachState(t *testing.T) { runNode(t, "viewer-looks.test.mjs") }

// shrink leaves a picture the 64 colours that it has most of, which a page of text does not miss.
func shrink(t *testing.T, name string) {
	file, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	full, err := png.Decode(file)
	file.Close()
	if err != nil {
		t.Fatal(err)
	}
	counts := make(map[color.Color]int)
	bounds := full.Bounds()
	for y := bounds.Min.Y; y < bounds.Max.Y; y++ {
		for x := bounds.Min.X; x < bounds.Max.X; x++ {
			counts[full.At(x, y)]++
		}
	}
	colours := slices.SortedFunc(maps.Keys(counts), func(a, b color.Color) int { return cmp.Compare(counts[b], counts[a]) })
	small := image.NewPaletted(bounds, colours[:min(64, len(colours))])
	draw.Draw(small, bounds, full, bounds.Min, draw.Src)
	if file, err = os.Create(name); err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if err := (&png.Encoder{CompressionLevel: png.BestCompression}).Encode(file, small); err != nil {
		t.Fatal(err)
	}
}
