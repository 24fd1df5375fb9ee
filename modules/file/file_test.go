package file

import (
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/seed-4dedbcea/caddy-sse/backend"
	"github.com/seed-4dedbcea/caddy-sse/backend/backendtest"
	"github.com/seed-4dedbcea/caddy-sse/internal/upstreamtest"
)

func TestRequestCannotLeaveTheFilesFolder(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"logs/a.log": "inside\n", "secret.log": "outside\n", "elsewhere/secret.log": "outside\n"} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "elsewhere/folder"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Join(dir, "elsewhere/folder"), filepath.Join(dir, "logs/link")); err != nil {
		t.Fatal(err)
	}
	t.Setenv("SSE_TEST_LOGS", dir+"/logs")
	for _, path := range []string{dir + "/logs/{query.name}.log", dir + "/logs{query.name}.log", "{env.SSE_TEST_LOGS}{query.name}.log"} {
		b := upstreamtest.Backend(t, "file "+path+" {\n from start\n}")
		bind := func(name string) (backend.Upstream, error) { return b.Bind(upstreamtest.Request("/?name=/" + name)) }
		u, err := bind("a")
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		r := upstreamtest.Run(t, u, "")
		r.Hears(t, "inside\n")
		r.Stop()
		for _, name := range []string{
			"../secret", "..%2Fsecret", "/../secret", "a/../../secret", "./../../secret", "link/../secret",
			"{env.HOME}/../../../secret", "a%00", "%00/../secret",
		} {
			if _, err := bind(name); upstreamtest.Status(err) != http.StatusNotFound {
				t.Errorf("%s with %s: got %v, want a 404", path, name, err)
			}
		}
	}
	if _, err := upstreamtest.Backend(t, "file {env.SSE_TEST_NOWHERE}{query.name}").Bind(upstreamtest.Request("/?name=/etc/passwd")); upstreamtest.Status(err) != http.StatusNotFound {
		t.Errorf("without a folder: got %v, want a 404", err)
	}
}

func TestFileThatCannotBeFollowedIsABadGateway(t *testing.T) {
	dir := t.TempDir()
	r := upstreamtest.Run(t, upstreamtest.Upstream(t, "file "+dir, ""), "")
	if err := r.Wait(t); upstreamtest.Status(err) != http.StatusBadGateway || len(r.Types()) > 0 {
		t.Errorf("a folder: got %v, opened %d times", err, len(r.Types()))
	}
	r = upstreamtest.Run(t, upstreamtest.Upstream(t, "file "+filepath.Dir(dir)+"/{query.name}", "name="+filepath.Base(dir)), "")
	if err := r.Wait(t); upstreamtest.Status(err) != http.StatusNotFound || len(r.Types()) > 0 {
		t.Errorf("a folder that the request names: got %v, opened %d times", err, len(r.Types()))
	}
}

func TestLinesThatNobodyAsksForAreAConfigError(t *testing.T) {
	for _, b := range []*Backend{
		{Path: "/a", From: fromLast}, {Path: "/a", From: fromLast, Last: -1}, {Path: "/a", From: fromEnd, Last: 3}, {Path: "/a", Last: 3}, {Path: "/a", From: "middle"},
	} {
		if err := b.Provision(caddy.Context{}); err == nil {
			t.Errorf("%+v is taken", b)
		}
	}
}

func TestFileIsABackend(t *testing.T) {
	backendtest.Run(t, func(t *testing.T) backend.Backend {
		path := filepath.Join(t.TempDir(), "app.log")
		if err := os.WriteFile(path, []byte("a line\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		return upstreamtest.Backend(t, "file "+path+" {\nfrom start\n}")
	})
}
