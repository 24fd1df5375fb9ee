package sse_test

import (
	"context"
	"encoding/json"
	"regexp"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	sse "github.com/seed-4dedbcea/caddy-sse"
	"github.com/seed-4dedbcea/caddy-sse/backend"
	"github.com/seed-4dedbcea/caddy-sse/backend/backendtest"
	"github.com/seed-4dedbcea/caddy-sse/internal/upstreamtest"
	"github.com/seed-4dedbcea/caddy-sse/modules/commandline"
	"github.com/seed-4dedbcea/caddy-sse/modules/dial"
)

func TestUpstreamsThatDifferHaveDifferentKeys(t *testing.T) {
	t.Setenv("SSE_TEST_X", "x")
	keys := make(map[string]string)
	for _, text := range []string{
		"dial a:1", "dial a:2", "dial a:1 {\n send x\n}", "dial a:1 {\n tls\n}", "dial a:1 {\n tls x\n}",
		"dial a:1 {\n send {env.SSE_TEST_X}\n}", "dial a:1 {\n send {query.e}\n}", "dial a:1 {\n send {query.l}\n}", "dial a:1 {\n send {last_id}\n}",
		"exec a b", "exec ab", "exec {query.e} b", "exec a b {\n dir /\n}", "exec a b {\n env A b\n}", "exec a b {\n pty\n}", "exec a b {\n stderr records\n}",
		"http http://a/", "http http://a/?x={query.e}", "http http://a/ {\n header A b\n}", "http http://a/ {\n method PUT\n}",
		"http http://a/ {\n body x\n}", "http http://a/ {\n transport http {\n versions h2c\n}\n}", "http http://unix//a:/", "http http://unix//b:/",
		"listen :1", "listen udp/:1", "stdin",
	} {
		key := upstreamtest.Upstream(t, text, "e={env.SSE_TEST_X}&l={last_id}").Key()
		if other, taken := keys[key]; taken {
			t.Errorf("%q and %q have the same key", text, other)
		}
		keys[key] = text
	}
	if a, b := upstreamtest.Upstream(t, "exec a {query.x}", "x=b"), upstreamtest.Upstream(t, "exec a b", ""); a.Key() != b.Key() {
		t.Error("what expands to the same command has different keys")
	}
}

var errorHasLine = regexp.MustCompile(`Caddyfile:\d+`)

func TestBackendMistakesAreConfigErrors(t *testing.T) {
	for _, text := range []string{
		"dial", "dial a:1 b:2", "dial a", "dial a:1-2", "dial udp/a:1", "dial unix/", "dial a:1 {\n what\n}", "dial {record}:1",
		"dial a:1 {\n send\n}", "dial a:1 {\n send a b\n}", "dial a:1 {\n send `\\q`\n}", "dial a:1 {\n send `\\x4`\n}", "dial a:1 {\n send `a\\`\n}",
		"dial a:1 {\n send a\n send b\n}", "dial a:1 {\n send {record.a\n}", "dial a:1 {\n send {seq}\n}", "dial a:1 {\n tls a b\n}",
		"dial unix//run/a.sock {\n tls\n}", "dial :443 {\n tls\n}", "dial a:1 {\n dial_timeout\n}", "dial a:1 {\n dial_timeout 0s\n}", "dial a:1 {\n dial_timeout x\n}",
		"exec", `exec ""`, "exec {record}", "exec a {\n what\n}", "exec a {\n dir\n}", "exec a {\n dir a b\n}", "exec a {\n dir {seq}\n}", "exec a {\n env A\n}",
		"exec a {\n env A b c\n}", "exec a {\n env A=B c\n}", "exec a {\n env A b\n env A c\n}", "exec a {\n env A {record.x}\n}", "exec a {\n stderr both\n}",
		"exec a {\n stderr\n}", "exec a {\n stop_timeout -1s\n}", "exec a {\n pty on\n}", "exec a {\n pty\n pty\n}",
		"http", "http a b", "http /path", "http ftp://a/", "http http://", "http http://a:b/", "http http://a/{record}", "http http://a/ {\n what\n}",
		"http http://a/ {\n method\n}", "http http://a/ {\n method `G T`\n}", "http http://a/ {\n header A\n}", "http http://a/ {\n header `A b` c\n}",
		"http http://a/ {\n header A {seq}\n}", "http http://a/ {\n body a b\n}", "http http://a/ {\n body {record.}\n}", "http http://a/ {\n body a\n body b\n}",
		"http http://a/ {\n transport http {\n tls\n}\n}", "http http://a/ {\n transport\n}", "http http://a/ {\n transport nothing\n}", "http http://unix//run/{query.x}.sock:/",
		"listen", "listen :1 :2", "listen a", "listen :1-2", "listen fd/3", "listen {query.x}:1", "listen {record}", "listen :1 {\n what\n}",
		"stdin a", "stdin {\n what\n}",
	} {
		_, err := adapt(t, ":80 {\n sse {\n backend "+text+"\n }\n}\n")
		if err == nil {
			t.Errorf("%q is taken", text)
		} else if !errorHasLine.MatchString(err.Error()) {
			t.Errorf("%q: the error names no file and line: %v", text, err)
		}
	}
	if err := new(dial.Backend).UnmarshalCaddyfile(caddyfile.NewTestDispenser("dial {query.host}:{query.port}")); err != nil {
		t.Error(err)
	}
}

// An error must not repeat any part of a wrong URL, which may be a part of a password.
func TestAURLThatIsWrongIsNotRepeated(t *testing.T) {
	wantSilence := func(text string, err error) {
		t.Helper()
		if err == nil {
			t.Errorf("%s: no error", text)
		} else if strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: got %q", text, err)
		}
	}
	for _, text := range []string{
		"http http://me:secret/x@host/", "http http://me:12#secret@host/", "http http://me:12/%secret@host/", "http http://me:secret%@host/",
		"http http://me:secret%zz@host/", "http http://me:sec^secret@host/", "http 'http://me:secret^@host/", "http ftp://me:secret@host/", "http me:secret@host",
		"http http://me:a secret@host/", "http http://secret/ secret", "http http://me:secret@{record.x}/", "http http://me:secret@host/{record.x",
		"http http://me:secret@host:port/", "http http://me:secret@", "http http://host[secret/", "http http://host/?{seq}secret",
		"http http://host {\nheader Authorization Bearer secret\n}", "http http://host {\nheader \"Authorization: secret\" x\n}",
		"http http://host {\nheader A \"secret\x01\"\n}", "http http://host {\nheader A secret{seq}\n}", "http http://host {\nbody secret{record.\n}",
		"dial http://me:secret@host:80", "dial http://me:secret@host:80/{query.x}", "listen http://me:secret@host:80",
	} {
		name, _, _ := strings.Cut(text, " ")
		module, err := caddy.GetModule(backend.Namespace + "." + name)
		if err != nil {
			t.Fatal(err)
		}
		backend := module.New().(sse.Backend)
		err = backend.(caddyfile.Unmarshaler).UnmarshalCaddyfile(caddyfile.NewTestDispenser(text))
		if err == nil { // it depends on the request
			var u sse.Upstream
			if u, err = backend.Bind(upstreamtest.Request("/")); err == nil {
				err = u.Stream(context.Background(), "", new(backendtest.Tape))
			}
		}
		wantSilence(text, err)
	}
	// Nor what becomes one when placeholders have values.
	for _, test := range []struct{ text, env, query string }{
		{"http {env.SSE_TEST_SECRET}", "http://me:secret/x@host/", ""},
		{"http http://me:{env.SSE_TEST_SECRET}@host/", "secret/x", ""},
		{"http http://me:12{env.SSE_TEST_SECRET}@host/", "#secret", ""},
		{"http http://host:1/secret/{query.x}", "", "x=.."},
		{"http http://host:1/{query.x}/secret", "", "x=.."},
		{"dial {env.SSE_TEST_SECRET}", "http://me:secret@host:80", ""},
	} {
		t.Setenv("SSE_TEST_SECRET", test.env)
		u, err := upstreamtest.Backend(t, test.text).Bind(upstreamtest.Request("/?" + test.query))
		if err == nil {
			err = u.Stream(context.Background(), "", new(backendtest.Tape))
		}
		wantSilence(test.text, err)
	}
	_, err := commandline.New("ftp://me:secret@host/", nil)
	wantSilence("--from ftp://…", err)
	_, err = commandline.New("http://me:secret%@host/", nil)
	wantSilence("--from http://…", err)
}

// noBackend is registered in the namespace of backends, but does not implement Backend.
type noBackend struct{}

func init() { caddy.RegisterModule(noBackend{}) }

func (noBackend) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.sse.backends.test_none", New: func() caddy.Module { return noBackend{} }}
}

func TestAModuleThatIsNoBackendIsAConfigError(t *testing.T) {
	var config caddy.Config
	text := `{"apps": {"http": {"servers": {"s": {"listen": ["127.0.0.1:0"], "routes": [{"handle": [{"handler": "sse", "backend": {"name": "test_none"}}]}]}}}}}`
	if err := json.Unmarshal([]byte(text), &config); err != nil {
		t.Fatal(err)
	}
	if err := caddy.Validate(&config); err == nil || !strings.Contains(err.Error(), "is no backend") {
		t.Errorf("the error is %v", err)
	}
}
