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

// TestDashboard runs examples/dashboard as it is, and restarts its server when the page's test says so.
func TestDashboard(t *testing.T) {
	root, err := filepath.Abs("../../examples/dashboard")
	if err != nil {
		t.Fatal(err)
	}
	port, dir := freePort(t), t.TempDir()
	for name, value := range map[string]string{"SSE_LISTEN": ":" + port, "LOG": filepath.Join(dir, "access.log"), "PAGE": root,
		"CADDY_ADMIN": "unix/" + filepath.Join(dir, "admin.sock"), "XDG_CONFIG_HOME": dir, "XDG_DATA_HOME": dir} {
		t.Setenv(name, value)
	}
	c := &caddy{t: t, binary: build(t), config: filepath.Join(root, "Caddyfile"), dir: dir, url: "http://localhost:" + port}
	c.start()
	defer c.stop()
	control := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		c.stop()
		time.Sleep(time.Second) // long enough for the page to notice
		c.start()
	}))
	defer control.Close()

	run(t, exec.Command("npm", "ci", "--no-audit", "--no-fund"))
	cmd := exec.Command("node", "--test", "dashboard.test.mjs")
	cmd.Env = append(os.Environ(), "DASHBOARD_URL="+c.url, "DASHBOARD_RESTART="+control.URL)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
