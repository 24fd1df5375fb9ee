package nats

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/seed-4dedbcea/caddy-sse/store"
)

func TestVersions(t *testing.T) {
	for version, ok := range map[string]bool{
		"2.11.0": true, "2.12.1-RC.1": true, "3.0.0": true, "v2.11": true, "2.10.29": false, "1.4.1": false, "": false, "2": false, "x.y": false,
	} {
		if err := checkVersion(version); (err == nil) != ok || err != nil && !errors.Is(err, store.ErrRefused) {
			t.Errorf("%q: %v", version, err)
		}
	}
}

// answers is a server that says that it is of that version, and answers pings.
func answers(t *testing.T, version string) (url string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
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
				fmt.Fprintf(conn, "INFO {\"server_id\":\"x\",\"version\":%q,\"proto\":1,\"headers\":true,\"max_payload\":1048576}\r\n", version)
				for lines := bufio.NewScanner(conn); lines.Scan(); {
					if lines.Text() == "PING" {
						fmt.Fprint(conn, "PONG\r\n")
					}
				}
			}()
		}
	}()
	return "nats://" + listener.Addr().String()
}

func TestAServerThatIsTooOldIsRefused(t *testing.T) {
	s := &Store{URLs: []string{answers(t, "2.10.29")}}
	if err := s.Provision(caddy.Context{}); err != nil {
		t.Fatal(err)
	}
	reports := make(chan error, 100)
	st, err := s.Open(func(err error) { reports <- err })
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	select {
	case err := <-reports:
		if !errors.Is(err, store.ErrRefused) || !strings.Contains(err.Error(), "2.11 or newer") {
			t.Errorf("it is reported that %v", err)
		}
	case <-time.After(time.Minute):
		t.Error("nothing is reported")
	}
}
