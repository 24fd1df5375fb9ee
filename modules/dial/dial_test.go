package dial

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

	"github.com/seed-4dedbcea/caddy-sse/backend"
	"github.com/seed-4dedbcea/caddy-sse/backend/backendtest"
	"github.com/seed-4dedbcea/caddy-sse/internal/upstreamtest"
)

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
			address := upstreamtest.ServeSocket(t, "tcp", "127.0.0.1:0", func(conn net.Conn) {
				got := make([]byte, len(test.want))
				_, _ = io.ReadFull(conn, got)
				_, _ = conn.Write(got)
			})
			r := upstreamtest.Run(t, upstreamtest.Upstream(t, "dial "+address+" {\n send `"+test.send+"`\n}", test.query), test.lastID)
			if err := r.Wait(t); err != nil {
				t.Fatal(err)
			}
			if got := r.Text(); got != test.want {
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
			_, err := upstreamtest.Backend(t, test.text).Bind(upstreamtest.Request("/?" + test.query))
			if status := upstreamtest.Status(err); err == nil || status != 400 {
				t.Errorf("got %v, want a 400", err)
			}
		})
	}
	u := upstreamtest.Upstream(t, "dial localhost:1 {\n send `SINCE {last_id}\\r\\n`\n}", "")
	if err := u.Stream(context.Background(), "1\r\nFLUSHALL", new(backendtest.Tape)); upstreamtest.Status(err) != 400 {
		t.Errorf("got %v, want a 400", err)
	}
}

func TestDialUnixSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	upstreamtest.ServeSocket(t, "unix", path, func(conn net.Conn) { _, _ = conn.Write([]byte("a\n")) })
	r := upstreamtest.Run(t, upstreamtest.Upstream(t, "dial unix/"+path, ""), "")
	if err := r.Wait(t); err != nil || r.Text() != "a\n" {
		t.Errorf("got %q, %v", r.Text(), err)
	}
}

func TestDialRefusedIsABadGateway(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	listener.Close()
	r := upstreamtest.Run(t, upstreamtest.Upstream(t, "dial "+listener.Addr().String(), ""), "")
	if err := r.Wait(t); upstreamtest.Status(err) != 502 || !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("got %v", err)
	}
	if len(r.Types()) > 0 {
		t.Error("the response was started")
	}
}

func TestDialThatTakesTooLongIsAGatewayTimeout(t *testing.T) {
	address := upstreamtest.ServeSocket(t, "tcp", "127.0.0.1:0", func(conn net.Conn) { _, _ = io.Copy(io.Discard, conn) })
	r := upstreamtest.Run(t, upstreamtest.Upstream(t, "dial "+address+" {\n tls localhost\n dial_timeout 50ms\n}", ""), "")
	if err := r.Wait(t); upstreamtest.Status(err) != 504 {
		t.Errorf("got %v", err)
	}
}

func TestDialResetInMidRecordIsAFailure(t *testing.T) {
	cut := make(chan struct{})
	address := upstreamtest.ServeSocket(t, "tcp", "127.0.0.1:0", func(conn net.Conn) {
		_, _ = conn.Write([]byte("a\nhalf"))
		<-cut
		_ = conn.(*net.TCPConn).SetLinger(0)
	})
	r := upstreamtest.Run(t, upstreamtest.Upstream(t, "dial "+address, ""), "")
	r.Hears(t, "a\nhalf")
	close(cut)
	if err := r.Wait(t); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("got %v", err)
	}
}

func TestDialNothingThenEnd(t *testing.T) {
	address := upstreamtest.ServeSocket(t, "tcp", "127.0.0.1:0", func(net.Conn) {})
	r := upstreamtest.Run(t, upstreamtest.Upstream(t, "dial "+address, ""), "")
	if err := r.Wait(t); err != nil || len(r.Types()) != 1 || r.Text() != "" {
		t.Errorf("got %q, %v", r.Texts(), err)
	}
}

func TestDialHugeLineTakesLittleMemory(t *testing.T) {
	const size = 100 << 20
	piece := make([]byte, 64<<10)
	for i := range piece {
		piece[i] = 'x'
	}
	address := upstreamtest.ServeSocket(t, "tcp", "127.0.0.1:0", func(conn net.Conn) {
		for range size / len(piece) {
			if _, err := conn.Write(piece); err != nil {
				return
			}
		}
		_, _ = conn.Write([]byte("\nnext\n"))
	})
	upstreamtest.WantLittleMemory(t, upstreamtest.Upstream(t, "dial "+address, ""))
}

func TestDialLeavesNothingBehind(t *testing.T) {
	address := upstreamtest.ServeSocket(t, "tcp", "127.0.0.1:0", func(conn net.Conn) {
		_, _ = conn.Write([]byte("a\n"))
		_, _ = io.Copy(io.Discard, conn)
	})
	u := upstreamtest.Upstream(t, "dial "+address, "")
	upstreamtest.LeavesNothing(t, func() { upstreamtest.OpenAndStop(t, u, 200, "a\n") })
}

// A process reads the system's roots once, so the test needs a process of its own.
func TestDialVerifiesTheServersCertificate(t *testing.T) {
	const variable = "SSE_TEST_TLS_ADDRESS"
	if address := os.Getenv(variable); address != "" {
		for _, test := range []struct {
			options string
			ok      bool
		}{{"tls example.com", true}, {"tls", true}, {"tls other.test", false}} {
			r := upstreamtest.Run(t, upstreamtest.Upstream(t, "dial "+address+" {\n "+test.options+"\n}", ""), "")
			if err := r.Wait(t); (err == nil) != test.ok || test.ok != (r.Text() == "a\n") {
				t.Errorf("%s: got %q, %v", test.options, r.Text(), err)
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
	address := upstreamtest.ServeSocket(t, "tcp", "127.0.0.1:0", func(conn net.Conn) {
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

func TestDialIsABackend(t *testing.T) {
	backendtest.Run(t, func(t *testing.T) backend.Backend {
		return upstreamtest.Backend(t, "dial "+upstreamtest.ServeSocket(t, "tcp", "127.0.0.1:0", func(conn net.Conn) {
			_, _ = io.WriteString(conn, "a line\n")
			_, _ = conn.Read(make([]byte, 1)) // until the backend closes it
		}))
	})
}
