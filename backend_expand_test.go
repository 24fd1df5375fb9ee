package sse

import (
	"regexp"
	"testing"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/seed-4dedbcea/caddy-sse/internal/upstreamtest"
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
