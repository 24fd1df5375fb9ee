//go:build browser

package browser

import (
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// startExample runs an example's config as it is, with these values of its variables.
func startExample(t *testing.T, name string, env map[string]string) *caddy {
	t.Helper()
	root, err := filepath.Abs("../../examples/" + name)
	if err != nil {
		t.Fatal(err)
	}
	port, dir := freePort(t), t.TempDir()
	t.Setenv("SSE_LISTEN", ":"+port)
	t.Setenv("PAGE", root)
	t.Setenv("CADDY_ADMIN", "unix/"+filepath.Join(dir, "admin.sock"))
	t.Setenv("XDG_CONFIG_HOME", dir)
	t.Setenv("XDG_DATA_HOME", dir)
	for variable, value := range env {
		t.Setenv(variable, value)
	}
	c := &caddy{t: t, binary: build(t), config: filepath.Join(root, "Caddyfile"), dir: dir, url: "http://localhost:" + port}
	c.start()
	t.Cleanup(c.stop)
	return c
}

func runNode(t *testing.T, script string, env ...string) {
	t.Helper()
	run(t, exec.Command("npm", "ci", "--no-audit", "--no-fund"))
	cmd := exec.Command("node", "--test", script)
	cmd.Env = append(os.Environ(), env...)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// TestDashboard restarts the server when the page's test says so.
func TestDashboard(t *testing.T) {
	c := startExample(t, "dashboard", map[string]string{"LOG": filepath.Join(t.TempDir(), "access.log")})
	control := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		c.stop()
		time.Sleep(time.Second) // long enough for the page to notice
		c.start()
	}))
	defer control.Close()
	runNode(t, "dashboard.test.mjs", "DASHBOARD_URL="+c.url, "DASHBOARD_RESTART="+control.URL)
}

func TestOllamasPage(t *testing.T) {
	port := freePort(t)
	c := startExample(t, "ollama", map[string]string{"OLLAMA": "127.0.0.1:" + port})
	runNode(t, "ollama.test.mjs", "OLLAMA_URL="+c.url, "OLLAMA_PORT="+port)
}
