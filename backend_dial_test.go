package sse

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/pem"
	"errors"
	"io"
	"net"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"syscall"
	"testing"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

// serveSocket answers each connection to a socket of its own, and returns the socket's address.
func serveSocket(t *testing.T, network, address string, answer func(net.Conn)) string {
	t.Helper()
	listener, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				answer(conn)
			}()
		}
	}()
	return listener.Addr().String()
}

func TestDialSendsThenTakesWhatTheServerSays(t *testing.T) {
	t.Setenv("SSE_TEST_SECRET", `p{query.name}\n`)
	for _, test := range []struct{ name, send, query, lastID, want string }{
		{"line end", `MONITOR\r\n`, "", "", "MONITOR\r\n"},
		{"JSON is no placeholder", `?WATCH={"enable":true,"json":true};\n`, "", "", "?WATCH={\"enable\":true,\"json\":true};\n"},
		{"escapes", `\t\\\x00\xfF{unknown}\\{query.name}\{query.name\}`, "name=me", "", "\t\\\x00\xff{unknown}\\me{query.name}"},
		{"escapes make no placeholder", `\x7bquery.name\x7d`, "name=me", "", "{query.name}"},
		{"values are text", `{query.name} {env.SSE_TEST_SECRET} {last_id}`, `name={env.SSE_TEST_SECRET}{last_id}\r\x41`, "{query.name}", `{env.SSE_TEST_SECRET}{last_id}\r\x41 p{query.name}\n {query.name}`},
	} {
		t.Run(test.name, func(t *testing.T) {
			address := serveSocket(t, "tcp", "127.0.0.1:0", func(conn net.Conn) {
				got := make([]byte, len(test.want))
				_, _ = io.ReadFull(conn, got)
				_, _ = conn.Write(got)
			})
			r := run(t, newUpstream(t, "dial "+address+" {\n send `"+test.send+"`\n}", test.query), test.lastID)
			if err := r.wait(t); err != nil {
				t.Fatal(err)
			}
			if got := r.sink.text(); got != test.want {
				t.Errorf("sent %q, want %q", got, test.want)
			}
		})
	}
}

func TestDialRefusesAClientsValueThatWouldSayMore(t *testing.T) {
	for name, test := range map[string]struct{ text, query string }{
		"another command": {"dial localhost:1 {\n send `GET {query.x}\\r\\n`\n}", "x=a%0d%0aFLUSHALL"},
		"another network": {"dial {query.x}:1", "x=unix//run/secret.sock"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := newBackend(t, test.text).Bind(newRequest("/?" + test.query))
			if status := statusOf(err); err == nil || status != 400 {
				t.Errorf("got %v, want a 400", err)
			}
		})
	}
	u := newUpstream(t, "dial localhost:1 {\n send `SINCE {last_id}\\r\\n`\n}", "")
	if err := u.Stream(context.Background(), "1\r\nFLUSHALL", new(tapeSink)); statusOf(err) != 400 {
		t.Errorf("got %v, want a 400", err)
	}
}

func TestDialUnixSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	serveSocket(t, "unix", path, func(conn net.Conn) { _, _ = conn.Write([]byte("a\n")) })
	r := run(t, newUpstream(t, "dial unix/"+path, ""), "")
	if err := r.wait(t); err != nil || r.sink.text() != "a\n" {
		t.Errorf("got %q, %v", r.sink.text(), err)
	}
}

func TestDialRefusedIsABadGateway(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	listener.Close()
	r := run(t, newUpstream(t, "dial "+listener.Addr().String(), ""), "")
	if err := r.wait(t); statusOf(err) != 502 || !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("got %v", err)
	}
	if len(r.sink.types) > 0 {
		t.Error("the response was started")
	}
}

func TestDialThatTakesTooLongIsAGatewayTimeout(t *testing.T) {
	address := serveSocket(t, "tcp", "127.0.0.1:0", func(conn net.Conn) { _, _ = io.Copy(io.Discard, conn) })
	r := run(t, newUpstream(t, "dial "+address+" {\n tls localhost\n dial_timeout 50ms\n}", ""), "")
	if err := r.wait(t); statusOf(err) != 504 {
		t.Errorf("got %v", err)
	}
}

func TestDialResetInMidRecordIsAFailure(t *testing.T) {
	cut := make(chan struct{})
	address := serveSocket(t, "tcp", "127.0.0.1:0", func(conn net.Conn) {
		_, _ = conn.Write([]byte("a\nhalf"))
		<-cut
		_ = conn.(*net.TCPConn).SetLinger(0)
	})
	r := run(t, newUpstream(t, "dial "+address, ""), "")
	r.hears(t, "a\nhalf")
	close(cut)
	if err := r.wait(t); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("got %v", err)
	}
}

func TestDialNothingThenEnd(t *testing.T) {
	address := serveSocket(t, "tcp", "127.0.0.1:0", func(net.Conn) {})
	r := run(t, newUpstream(t, "dial "+address, ""), "")
	if err := r.wait(t); err != nil || len(r.sink.types) != 1 || r.sink.text() != "" {
		t.Errorf("got %q, %v", r.sink.texts(), err)
	}
}

func TestDialHugeLineTakesLittleMemory(t *testing.T) {
	const size = 100 << 20
	piece := make([]byte, 64<<10)
	for i := range piece {
		piece[i] = 'x'
	}
	address := serveSocket(t, "tcp", "127.0.0.1:0", func(conn net.Conn) {
		for range size / len(piece) {
			if _, err := conn.Write(piece); err != nil {
				return
			}
		}
		_, _ = conn.Write([]byte("\nnext\n"))
	})
	u := newUpstream(t, "dial "+address, "")
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	sink := new(tallySink)
	if err := u.Stream(context.Background(), "", sink); err != nil {
		t.Fatal(err)
	}
	runtime.ReadMemStats(&after)
	if sink.records != 1 || sink.tooLong != 1 {
		t.Errorf("%d records, %d too long", sink.records, sink.tooLong)
	}
	if allocated := after.TotalAlloc - before.TotalAlloc; allocated > 16<<20 {
		t.Errorf("allocated %d bytes for a line of %d", allocated, size)
	}
}

func TestDialLeavesNothingBehind(t *testing.T) {
	address := serveSocket(t, "tcp", "127.0.0.1:0", func(conn net.Conn) {
		_, _ = conn.Write([]byte("a\n"))
		_, _ = io.Copy(io.Discard, conn)
	})
	u := newUpstream(t, "dial "+address, "")
	leavesNothing(t, func() {
		for range 200 {
			r := run(t, u, "")
			r.hears(t, "a\n")
			r.stop()
			r.wait(t)
		}
	})
}

// The system's roots are read once in a process, so that the test needs one of its own.
func TestDialVerifiesTheServersCertificate(t *testing.T) {
	const variable = "SSE_TEST_TLS_ADDRESS"
	if address := os.Getenv(variable); address != "" {
		for _, test := range []struct {
			options string
			ok      bool
		}{{"tls example.com", true}, {"tls", true}, {"tls other.test", false}} {
			r := run(t, newUpstream(t, "dial "+address+" {\n "+test.options+"\n}", ""), "")
			if err := r.wait(t); (err == nil) != test.ok || test.ok != (r.sink.text() == "a\n") {
				t.Errorf("%s: got %q, %v", test.options, r.sink.text(), err)
			}
		}
		return
	}
	server := httptest.NewTLSServer(nil) // for its certificate
	defer server.Close()
	roots := filepath.Join(t.TempDir(), "roots.pem")
	block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	if err := os.WriteFile(roots, block, 0o600); err != nil {
		t.Fatal(err)
	}
	address := serveSocket(t, "tcp", "127.0.0.1:0", func(conn net.Conn) {
		secured := tls.Server(conn, &tls.Config{Certificates: server.TLS.Certificates})
		_, _ = secured.Write([]byte("a\n"))
		_ = secured.CloseWrite()
		_, _ = bufio.NewReader(secured).ReadByte()
	})
	test := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$")
	test.Env = append(os.Environ(), variable+"="+address, "SSL_CERT_FILE="+roots, "SSL_CERT_DIR="+t.TempDir())
	if out, err := test.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

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
		key := newUpstream(t, text, "e={env.SSE_TEST_X}&l={last_id}").Key()
		if other, taken := keys[key]; taken {
			t.Errorf("%q and %q have the same key", text, other)
		}
		keys[key] = text
	}
	if a, b := newUpstream(t, "exec a {query.x}", "x=b"), newUpstream(t, "exec a b", ""); a.Key() != b.Key() {
		t.Error("what expands to the same command has different keys")
	}
}

var errorHasLine = regexp.MustCompile(`Caddyfile:\d+`)

func TestBackendMistakesAreConfigErrors(t *testing.T) {
	for _, text := range []string{
		"dial", "dial a:1 b:2", "dial a", "dial a:1-2", "dial udp/a:1", "dial unix/", "dial a:1 {\n what\n}", "dial {record}:1",
		"dial a:1 {\n send\n}", "dial a:1 {\n send a b\n}", "dial a:1 {\n send `\\q`\n}", "dial a:1 {\n send `\\x4`\n}", "dial a:1 {\n send `a\\`\n}",
		"dial a:1 {\n send a\n send b\n}", "dial a:1 {\n send {record.a\n}", "dial a:1 {\n send {seq}\n}", "dial a:1 {\n tls a b\n}",
		"dial unix//run/a.sock {\n tls\n}", "dial a:1 {\n dial_timeout\n}", "dial a:1 {\n dial_timeout 0s\n}", "dial a:1 {\n dial_timeout x\n}",
		"exec", `exec ""`, "exec {record}", "exec a {\n what\n}", "exec a {\n dir\n}", "exec a {\n dir a b\n}", "exec a {\n dir {seq}\n}", "exec a {\n env A\n}",
		"exec a {\n env A b c\n}", "exec a {\n env A=B c\n}", "exec a {\n env A b\n env A c\n}", "exec a {\n env A {record.x}\n}", "exec a {\n stderr both\n}",
		"exec a {\n stderr\n}", "exec a {\n stop_timeout -1s\n}", "exec a {\n pty on\n}", "exec a {\n pty\n pty\n}",
		"http", "http a b", "http /path", "http ftp://a/", "http http://", "http http://a:b/", "http http://a/{record}", "http http://a/ {\n what\n}",
		"http http://a/ {\n method\n}", "http http://a/ {\n method `G T`\n}", "http http://a/ {\n header A\n}", "http http://a/ {\n header `A b` c\n}",
		"http http://a/ {\n header A {seq}\n}", "http http://a/ {\n body a b\n}", "http http://a/ {\n body {record.}\n}", "http http://a/ {\n body a\n body b\n}",
		"http http://a/ {\n transport\n}", "http http://a/ {\n transport nothing\n}", "http http://unix//run/{query.x}.sock:/",
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
	if err := new(DialBackend).UnmarshalCaddyfile(caddyfile.NewTestDispenser("dial {query.host}:{query.port}")); err != nil {
		t.Error(err)
	}
}
