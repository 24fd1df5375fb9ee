package listen

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/seed-4dedbcea/caddy-sse/backend"
	"github.com/seed-4dedbcea/caddy-sse/backend/backendtest"
	"github.com/seed-4dedbcea/caddy-sse/internal/ssetest"
	"github.com/seed-4dedbcea/caddy-sse/internal/upstreamtest"
)

// has waits until an input was given this text and has ended in this way.
func has(t *testing.T, r *upstreamtest.Running, text string, ends ...bool) {
	t.Helper()
	upstreamtest.Eventually(t, func() bool {
		return slices.ContainsFunc(r.Recordings(), func(in backendtest.Recording) bool {
			return in.Text == text && slices.Equal(in.Ends, ends)
		})
	}, func() string { return fmt.Sprintf("have %q, want %q that ended %v", r.Texts(), text, ends) })
}

func TestListenTellsSendersApart(t *testing.T) {
	address := ssetest.FreeAddress(t)
	r := upstreamtest.Run(t, upstreamtest.Upstream(t, "listen "+address, ""), "")
	r.WaitOpen(t)
	held := ssetest.Send(t, "tcp", address, "half a li")
	ssetest.Send(t, "tcp", address, "\x00\xff garbage without end").(*net.TCPConn).CloseWrite()
	broken := ssetest.Send(t, "tcp", address, "broken off")
	has(t, r, "broken off")
	_ = broken.(*net.TCPConn).SetLinger(0)
	broken.Close()
	for i := range 50 {
		ssetest.Send(t, "tcp", address, fmt.Sprintf("sender %d\n", i)).Close()
	}
	for i := range 50 {
		has(t, r, fmt.Sprintf("sender %d\n", i), true)
	}
	has(t, r, "\x00\xff garbage without end", true)
	has(t, r, "broken off", false)
	if _, err := held.Write([]byte("ne\n")); err != nil {
		t.Fatal(err)
	}
	has(t, r, "half a line\n")
}

func TestListenTakesOverAStaleUnixSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	stale, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	stale.(*net.UnixListener).SetUnlinkOnClose(false)
	stale.Close()
	r := upstreamtest.Run(t, upstreamtest.Upstream(t, "listen unix/"+path+"|0222", ""), "")
	r.WaitOpen(t)
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o222 {
		t.Errorf("got %v, %v", info, err)
	}
	ssetest.Send(t, "unix", path, "a\n").Close()
	has(t, r, "a\n", true)
}

func TestListenDatagramsAreWholeRecords(t *testing.T) {
	for _, network := range []string{"udp", "unixgram"} {
		address := filepath.Join(t.TempDir(), "s")
		if network == "udp" {
			address = ssetest.FreeAddress(t)
		}
		r := upstreamtest.Run(t, upstreamtest.Upstream(t, "listen "+network+"/"+address, ""), "")
		r.WaitOpen(t)
		ssetest.Send(t, network, address, "one")
		has(t, r, "one", true)
		large := strings.Repeat("x", 60000)
		ssetest.Send(t, network, address, large)
		has(t, r, "one"+large, true, true)
		ssetest.Send(t, network, address, "two\nthree\n")
		has(t, r, "one"+large+"two\nthree\n", true, true, true)
		r.Stop()
		r.Wait(t)
	}
}

func TestListenWhenFullTheLongestSilentSenderGoes(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	r := upstreamtest.Run(t, upstreamtest.Upstream(t, "listen unix/"+path, ""), "")
	r.WaitOpen(t)
	first := ssetest.Send(t, "unix", path, "first, ")
	has(t, r, "first, ")
	second := ssetest.Send(t, "unix", path, "second")
	has(t, r, "second")
	for range maxSenders - 2 {
		ssetest.Send(t, "unix", path, "x")
	}
	upstreamtest.Eventually(t, func() bool { return len(r.Texts()) == 1+maxSenders }, func() string { return fmt.Sprint(len(r.Texts()), " inputs") })
	write(t, first, "again, ")
	has(t, r, "first, again, ")

	ssetest.Send(t, "unix", path, "one more\n").Close()
	has(t, r, "one more\n", true)
	has(t, r, "second", false) // what it had begun has been broken off
	if n, err := second.Read(make([]byte, 1)); err == nil {
		t.Errorf("read %d bytes", n)
	}
	write(t, first, "and again\n")
	has(t, r, "first, again, and again\n")
}

func TestListenEndsASenderThatIsSilentForLong(t *testing.T) {
	address := ssetest.FreeAddress(t)
	b := upstreamtest.Backend(t, "listen "+address).(*Backend)
	b.idleTimeout = 50 * time.Millisecond
	r := upstreamtest.Run(t, b.Upstream(), "")
	r.WaitOpen(t)
	conn := ssetest.Send(t, "tcp", address, "half")
	has(t, r, "half", false)
	if n, err := conn.Read(make([]byte, 1)); err == nil {
		t.Errorf("read %d bytes", n)
	}
	ssetest.Send(t, "tcp", address, "next\n").Close()
	has(t, r, "next\n", true)
}

func write(t *testing.T, conn net.Conn, text string) {
	t.Helper()
	if _, err := conn.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
}

func TestListenTakesADatagramOfAUnixSocketWhole(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	r := upstreamtest.Run(t, upstreamtest.Upstream(t, "listen unixgram/"+path, ""), "")
	r.WaitOpen(t)
	large := strings.Repeat("x", 150_000)
	ssetest.Send(t, "unixgram", path, "a")
	ssetest.Send(t, "unixgram", path, large)
	ssetest.Send(t, "unixgram", path, "b")
	has(t, r, "a"+large+"b", true, true, true)
}

// packets is a socket whose datagrams are larger than any buffer.
type packets struct {
	net.PacketConn
	left int
}

func (p *packets) ReadFrom(buf []byte) (int, net.Addr, error) {
	if p.left == 0 {
		return 0, nil, net.ErrClosed
	}
	p.left--
	return copy(buf, bytes.Repeat([]byte("line\n"), len(buf))), nil, nil
}

func TestListenTellsThatADatagramWasCut(t *testing.T) {
	sink, warnings := new(backendtest.Tape), 0
	err := receive(&packets{left: 2}, sink, func(string, ...zap.Field) { warnings++ })
	in := sink.Recordings()[0]
	if !errors.Is(err, net.ErrClosed) || !slices.Equal(in.Ends, []bool{false, false}) || in.Gaps != 2 || warnings != 2 {
		t.Errorf("ended %v, %d gaps, %d warnings, %v", in.Ends, in.Gaps, warnings, err)
	}
}

func TestListenWhereItCannotIsAFailure(t *testing.T) {
	r := upstreamtest.Run(t, upstreamtest.Upstream(t, "listen unix//nowhere/s", ""), "")
	if err := r.Wait(t); err == nil || len(r.Types()) > 0 {
		t.Errorf("got %v", err)
	}
}

func TestListenEndsWhenNobodyWantsMore(t *testing.T) {
	address := ssetest.FreeAddress(t)
	u := upstreamtest.Upstream(t, "listen "+address, "")
	enough := errors.New("enough")
	sink := &backendtest.Tape{WriteErr: enough}
	done := make(chan error)
	go func() { done <- u.Stream(context.Background(), "", sink) }()
	upstreamtest.Eventually(t, func() bool { return len(sink.Types()) > 0 }, func() string { return "is not there" })
	ssetest.Send(t, "tcp", address, "a\n")
	if err := <-done; !errors.Is(err, enough) {
		t.Errorf("got %v", err)
	}
}

func TestListenLeavesNothingBehind(t *testing.T) {
	address := ssetest.FreeAddress(t)
	u := upstreamtest.Upstream(t, "listen "+address, "")
	upstreamtest.LeavesNothing(t, func() {
		for range 50 {
			r := upstreamtest.Run(t, u, "")
			r.WaitOpen(t)
			conn := ssetest.Send(t, "tcp", address, "a\nhalf")
			has(t, r, "a\nhalf")
			r.Stop()
			r.Wait(t)
			conn.Close()
		}
	})
}

func TestListenAtOneAddressIsSharedByAll(t *testing.T) {
	a, b := upstreamtest.Backend(t, "listen :9123"), upstreamtest.Backend(t, "listen tcp/:9123")
	if _, always := a.(backend.AlwaysShared); !always || a.(backend.AlwaysShared).Upstream().Key() != b.(backend.AlwaysShared).Upstream().Key() {
		t.Error("the keys differ")
	}
}

func TestListenExpandsTheServersEnvironment(t *testing.T) {
	t.Setenv("SSE_TEST_PORT", "9123")
	if u := upstreamtest.Upstream(t, "listen :{env.SSE_TEST_PORT}", ""); u.Key() != upstreamtest.Upstream(t, "listen :9123", "").Key() {
		t.Error("the keys differ")
	}
}

func TestListenIsABackend(t *testing.T) {
	backendtest.Run(t, func(t *testing.T) backend.Backend {
		path := filepath.Join(t.TempDir(), "socket")
		stop, stopped := make(chan struct{}), make(chan struct{})
		go func() { // sends again and again, as the socket opens and closes with each Stream
			defer close(stopped)
			for {
				if conn, err := net.Dial("unix", path); err == nil {
					_, _ = io.WriteString(conn, "a line\n")
					conn.Close()
				}
				select {
				case <-stop:
					return
				case <-time.After(10 * time.Millisecond):
				}
			}
		}()
		t.Cleanup(func() { close(stop); <-stopped })
		return upstreamtest.Backend(t, "listen unix/"+path)
	})
}
