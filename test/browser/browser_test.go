//go:build browser

// Package browser drives a real Chromium against a real Caddy. It needs Node, npm and Chromium:
//
//	go test -tags browser ./test/browser
package browser

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// caddy is a Caddy in a process of its own, which can be restarted.
type caddy struct {
	t      *testing.T
	binary string
	config string
	dir    string
	url    string
	mu     sync.Mutex
	cmd    *exec.Cmd
}

func build(t *testing.T) string {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "caddy")
	run(t, exec.Command("go", "build", "-o", binary, "../../cmd/caddy"))
	return binary
}

func run(t *testing.T, cmd *exec.Cmd) []byte {
	t.Helper()
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v\n%s%s", cmd, err, out, stderr.Bytes())
	}
	return out
}

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	return port
}

func (c *caddy) start() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cmd = exec.Command(c.binary, "run", "--config", c.config, "--adapter", "caddyfile")
	c.cmd.Dir = c.dir
	c.cmd.Stderr = os.Stderr
	if err := c.cmd.Start(); err != nil {
		c.t.Error(err)
		return
	}
	for range 600 {
		if response, err := http.Get(c.url + "/up"); err == nil {
			response.Body.Close()
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	c.t.Error("caddy does not answer")
}

func (c *caddy) stop() {
	c.mu.Lock()
	defer c.mu.Unlock()
	_ = c.cmd.Process.Signal(os.Interrupt)
	_ = c.cmd.Wait()
}

// TestBrowserReceivesTheExamplesEventsOnceAndStopsAtTheEnd runs Caddyfile.example as it is.
func TestBrowserReceivesTheExamplesEventsOnceAndStopsAtTheEnd(t *testing.T) {
	c := &caddy{t: t, binary: build(t), config: "Caddyfile.example", dir: "../..", url: "http://localhost:8080"}
	run(t, exec.Command("npm", "ci", "--no-audit", "--no-fund"))
	c.start()
	defer c.stop()

	var got struct {
		Opens  int
		Closed bool
		Events []struct{ Type, ID, Data string }
	}
	out := run(t, exec.Command("node", "eventsource.mjs", c.url+"/orders",
		"--types", "order.created,order.paid,order.shipped,stock.low,debug,done"))
	if err := json.Unmarshal(out, &got); err != nil {
		t.Fatal(err)
	}

	file, err := os.Open("../../examples/orders.ndjson")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	n := 0
	for lines := bufio.NewScanner(file); lines.Scan(); {
		var record struct {
			ID   json.Number
			Type string
		}
		if err := json.Unmarshal(lines.Bytes(), &record); err != nil {
			t.Fatal(err)
		}
		if record.Type == "debug" {
			continue
		}
		if n >= len(got.Events) {
			t.Fatalf("only %d events arrived", n)
		}
		if e := got.Events[n]; e.Type != record.Type || e.ID != string(record.ID) || e.Data != lines.Text() {
			t.Fatalf("event %d is %+v, want %s", n, e, lines.Text())
		}
		n++
	}
	if rest := got.Events[n:]; len(rest) != 1 || rest[0].Type != "done" {
		t.Errorf("after the records came %+v, want one done event", rest)
	}
	if !got.Closed || got.Opens != 1 {
		t.Errorf("the EventSource opened %d times, closed for good: %v", got.Opens, got.Closed)
	}
}

// TestTheREADMEsScriptRunsInABrowser runs it as it stands there.
func TestTheREADMEsScriptRunsInABrowser(t *testing.T) {
	run(t, exec.Command("npm", "ci", "--no-audit", "--no-fund"))
	run(t, exec.Command("node", "--test", "readme.test.mjs"))
}

// TestCompressedStreamsArriveLive is for the decoders of a browser and of Node's fetch.
func TestCompressedStreamsArriveLive(t *testing.T) {
	dir := t.TempDir()
	port, push := freePort(t), freePort(t)
	config := filepath.Join(dir, "Caddyfile")
	if err := os.WriteFile(config, []byte(fmt.Sprintf(`{
	admin off
	persist_config off
	log {
		level error
	}
}
http://localhost:%s {
	bind 127.0.0.1
	encode
	sse /zstd {
		backend listen 127.0.0.1:%[2]s
		compress zstd
	}
	sse /gzip {
		backend listen 127.0.0.1:%[2]s
		compress gzip
	}
	respond /up "up"
}
`, port, push)), 0o644); err != nil {
		t.Fatal(err)
	}
	c := &caddy{t: t, binary: build(t), config: config, dir: dir, url: "http://localhost:" + port}
	c.start()
	defer c.stop()
	run(t, exec.Command("npm", "ci", "--no-audit", "--no-fund"))
	cmd := exec.Command("node", "--test", "compressed.test.mjs")
	cmd.Env = append(os.Environ(), "SSE_ZSTD_URL="+c.url+"/zstd", "SSE_GZIP_URL="+c.url+"/gzip", "SSE_PUSH="+push)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// hostileRecords returns a record for each string of hostile.json.
func hostileRecords(t *testing.T) (lines []byte) {
	t.Helper()
	hostile, err := os.ReadFile("hostile.json")
	if err != nil {
		t.Fatal(err)
	}
	var texts []string
	if err := json.Unmarshal(hostile, &texts); err != nil {
		t.Fatal(err)
	}
	for _, text := range texts {
		line, _ := json.Marshal(map[string]string{"text": text})
		lines = append(append(lines, line...), '\n')
	}
	return lines
}

// TestFragments has htmx and Datastar put records into their pages, with and without the escape of HTML.
func TestFragments(t *testing.T) {
	dir, port := t.TempDir(), freePort(t)
	if err := os.WriteFile(filepath.Join(dir, "hostile.ndjson"), hostileRecords(t), 0o644); err != nil {
		t.Fatal(err)
	}
	config := fmt.Sprintf("{\n\tadmin off\n\tpersist_config off\n\tlog {\n\t\tlevel error\n\t}\n}\nhttp://localhost:%s {\n\tbind 127.0.0.1\n", port)
	for path, value := range map[string]string{"": "{record.text|html}", "-raw": "{record.text}"} {
		config += fmt.Sprintf(`	sse /htmx%[1]s {
		backend file %[2]s/hostile.ndjson {
			from start
		}
		data `+"`<li title=\"%[3]s\">%[3]s</li>`"+`
	}
	sse /datastar%[1]s {
		backend file %[2]s/hostile.ndjson {
			from start
		}
		event datastar-merge-fragments
		data `+"`selector #feed\nmergeMode append\nfragments <li title=\"%[3]s\">%[3]s</li>`"+`
	}
`, path, dir, value)
	}
	config += "\trespond /up up\n}\n"
	c := &caddy{t: t, binary: build(t), config: filepath.Join(dir, "Caddyfile"), dir: dir, url: "http://localhost:" + port}
	if err := os.WriteFile(c.config, []byte(config), 0o644); err != nil {
		t.Fatal(err)
	}
	c.start()
	defer c.stop()
	run(t, exec.Command("npm", "ci", "--no-audit", "--no-fund"))
	cmd := exec.Command("node", "--test", "fragments.test.mjs")
	cmd.Env = append(os.Environ(), "FRAGMENTS_URL="+c.url)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// TestViewer runs the page's own tests against streams of a growing file, whose ids survive a restart.
func TestViewer(t *testing.T) {
	dir := t.TempDir()
	lines := hostileRecords(t)
	write := func(name string, content []byte) {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	port := freePort(t)
	write("hostile.ndjson", lines)
	write("Caddyfile", []byte(fmt.Sprintf(`{
	admin off
	persist_config off
	log {
		level error
	}
}
http://localhost:%s {
	bind 127.0.0.1
	sse /normal {
		backend file %[2]s/normal.ndjson
		event {record.type}
		viewer
	}
	sse /fast {
		backend file %[2]s/fast.ndjson
		event {record.type}
		viewer
	}
	sse /hostile {
		backend file %[2]s/hostile.ndjson {
			from start
		}
		data {record.text}
		viewer
	}
	sse /own {
		backend exec sh -c "echo 1; sleep 4; echo '\"no memory\"'; sleep 600"
		format ndjson
		error_when "record == 'no memory'"
		error failed
		heartbeat 500ms alive
		viewer
		share {
			replay all
			live ready
		}
	}
	respond /up "up"
}
`, port, dir)))
	grow(t, filepath.Join(dir, "normal.ndjson"), 100*time.Millisecond, 1)
	grow(t, filepath.Join(dir, "fast.ndjson"), 20*time.Millisecond, 20)

	c := &caddy{t: t, binary: build(t), config: filepath.Join(dir, "Caddyfile"), dir: dir, url: "http://localhost:" + port}
	c.start()
	defer c.stop()
	control := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		c.stop()
		time.Sleep(time.Second) // long enough for the page to notice
		c.start()
	}))
	defer control.Close()

	run(t, exec.Command("npm", "ci", "--no-audit", "--no-fund"))
	cmd := exec.Command("node", "--test", "--test-concurrency=1", "viewer.test.mjs")
	cmd.Env = append(os.Environ(), "SSE_URL="+c.url+"/normal", "SSE_FAST_URL="+c.url+"/fast",
		"SSE_HOSTILE_URL="+c.url+"/hostile", "SSE_OWN_URL="+c.url+"/own", "SSE_RESTART=curl -sf "+control.URL)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	if err := cmd.Run(); err != nil {
		t.Error(err)
	}
}

// grow appends records to a file until the test ends.
func grow(t *testing.T, name string, every time.Duration, records int) {
	file, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	var ended sync.WaitGroup
	ended.Add(1)
	go func() {
		defer ended.Done()
		defer file.Close()
		types := []string{`"type":"tick",`, `"type":"order",`, ""}
		var out strings.Builder
		for n := 1; ; {
			out.Reset()
			for range records {
				fmt.Fprintf(&out, `{%s"n":%d,"symbol":"ACME","price":%d.5,"up":%v,"book":{"bids":[[99.5,10],[99.25,40]],"asks":[]}}`+"\n", types[n%3], n, n%500, n%2 == 0)
				n++
			}
			if _, err := file.WriteString(out.String()); err != nil {
				return
			}
			select {
			case <-time.After(every):
			case <-done:
				return
			}
		}
	}()
	t.Cleanup(func() { close(done); ended.Wait() })
}
