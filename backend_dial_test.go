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
	"syscall"
	"testing"
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
		{"escapes", `\t\\\x00\xfF{unknown}\\{query.name}\{last_id\}`, "name=me", "1", "\t\\\x00\xff{unknown}\\me{last_id}"},
		{"escapes make no placeholder", `\x7blast_id\x7d`, "", "1", "{last_id}"},
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
	wantLittleMemory(t, newUpstream(t, "dial "+address, ""))
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
