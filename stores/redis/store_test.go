package redis

import (
	"errors"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/seed-4dedbcea/caddy-sse/internal/storestest"

	"github.com/caddyserver/caddy/v2"

	"github.com/seed-4dedbcea/caddy-sse/store"
)

func TestAConfigLoadsWithoutItsRedisWhichComesLater(t *testing.T) {
	s := newServer(t)
	o := open(t, s.url())
	o.awaitDown(t)
	if _, err := o.Log("a").Append(t.Context(), 0, []byte("x")); err == nil || errors.Is(err, store.ErrConflict) || errors.Is(err, store.ErrRefused) {
		t.Errorf("without a server, Append returns %v", err)
	}
	s.start()
	o.awaitUp(t)
	storestest.Eventually(t, "a message is accepted", func() bool {
		_, err := o.Log("a").Append(t.Context(), 0, []byte("x"))
		return err == nil
	})
}

func TestAServerThatHangsIsReportedAndNothingIsLost(t *testing.T) {
	s := startServer(t)
	o := open(t, s.url())
	o.awaitUp(t)
	l := o.Log("a")
	first := storestest.Add(t, l, 0, "one")
	messages, ended := storestest.Follow(t, l, 0)
	storestest.Next(t, messages)

	s.signal(syscall.SIGSTOP)
	if _, err := l.Append(t.Context(), first, []byte("two")); err == nil || errors.Is(err, store.ErrConflict) {
		t.Errorf("while the server hangs, Append returns %v", err)
	}
	if err := storestest.Next(t, ended); err == nil {
		t.Error("Follow returns no error")
	}
	o.awaitDown(t)

	s.signal(syscall.SIGCONT)
	o.awaitUp(t)
	var head store.Message
	storestest.Eventually(t, "the head can be read", func() (ok bool) {
		var err error
		head, err = l.Head(t.Context())
		return err == nil
	})
	if head.Pos != first { // the server has processed commands that it got while it hung
		if string(head.Data) != "two" {
			t.Errorf("the head is %q", head.Data)
		}
	}
	storestest.Add(t, l, head.Pos, "three")
}

func TestARestartWithoutPersistenceLosesTheLogAndPlacesGoOn(t *testing.T) {
	s := startServer(t)
	o := open(t, s.url())
	o.awaitUp(t)
	l := o.Log("a")
	first := storestest.Add(t, l, 0, "one")

	s.kill()
	o.awaitDown(t)
	s.start()
	o.awaitUp(t)
	storestest.Eventually(t, "the log is empty", func() bool {
		_, err := l.Head(t.Context())
		return errors.Is(err, store.ErrEmpty)
	})
	if _, err := l.Append(t.Context(), first, []byte("two")); !errors.Is(err, store.ErrConflict) {
		t.Errorf("after a message that is lost, Append returns %v", err)
	}
	second := storestest.Add(t, l, 0, "two")
	if second <= first {
		t.Errorf("the place %d comes after %d", second, first)
	}
}

func TestARestartWithPersistenceLosesNothing(t *testing.T) {
	s := startServer(t, "--appendonly", "yes", "--appendfsync", "always")
	o := open(t, s.url())
	o.awaitUp(t)
	l := o.Log("a")
	first := storestest.Add(t, l, 0, "one")
	s.kill()
	o.awaitDown(t)
	s.start()
	o.awaitUp(t)
	storestest.Eventually(t, "the head can be read", func() bool {
		head, err := l.Head(t.Context())
		if err == nil && (head.Pos != first || string(head.Data) != "one") {
			t.Fatalf("the head is %q at %d", head.Data, head.Pos)
		}
		return err == nil
	})
	storestest.Add(t, l, first, "two")
}

func TestAnOlderSnapshotGoesBackAndAWriterOfWhatIsLostIsRefused(t *testing.T) {
	s := startServer(t)
	o := open(t, s.url())
	o.awaitUp(t)
	l := o.Log("a")
	first := storestest.Add(t, l, 0, "one")
	s.do("SAVE")
	lost := storestest.Add(t, l, first, "lost")
	s.kill()
	o.awaitDown(t)
	s.start()
	o.awaitUp(t)
	goneBack(t, l, first, lost)
}

// A replica is promoted while the primary continues to accept messages from processes that do not know it yet.
func TestAReplicaThatTakesOverMayLackWhatWasAccepted(t *testing.T) {
	primary, replica := startServer(t), startServer(t)
	replica.do("REPLICAOF", "127.0.0.1", primary.port)
	r := newRelay(t, primary.port)
	o := open(t, r.url())
	o.awaitUp(t)
	l := o.Log("a")
	first := storestest.Add(t, l, 0, "one")
	storestest.Eventually(t, "the replica has the message", func() bool {
		return strings.Contains(replica.do("INFO", "replication").(string), "master_link_status:up") && replica.do("XLEN", "sse:log:a").(int64) == 1
	})
	replica.do("REPLICAOF", "NO", "ONE")
	lost := storestest.Add(t, l, first, "lost")
	messages, ended := storestest.Follow(t, l, 0)
	storestest.Next(t, messages)
	if m := storestest.Next(t, messages); m.Pos != lost {
		t.Fatalf("%q at %d is read, not the message that will be lost", m.Data, m.Pos)
	}

	r.lead(replica.port)
	o.awaitDown(t)
	o.awaitUp(t)
	if err := storestest.Next(t, ended); err == nil {
		t.Error("Follow returns no error")
	}
	goneBack(t, l, first, lost)
}

// goneBack checks a log whose head was at lost and is now at first again.
func goneBack(t *testing.T, l store.Log, first, lost store.Pos) {
	t.Helper()
	storestest.Eventually(t, "the head can be read", func() bool {
		head, err := l.Head(t.Context())
		if err == nil && head.Pos != first {
			t.Fatalf("the head is %q at %d", head.Data, head.Pos)
		}
		return err == nil
	})
	_, ended := storestest.Follow(t, l, lost)
	if err := storestest.Next(t, ended); !errors.Is(err, errRewound) {
		t.Errorf("after a message that is lost, Follow returns %v", err)
	}
	if _, err := l.Append(t.Context(), lost, []byte("two")); !errors.Is(err, store.ErrConflict) {
		t.Errorf("after a message that is lost, Append returns %v", err)
	}
	if second := storestest.Add(t, l, first, "two"); second == lost {
		t.Error("the place of a message that is lost is used again")
	} else if _, err := l.Append(t.Context(), lost, []byte("three")); !errors.Is(err, store.ErrConflict) {
		t.Errorf("after a message that is lost, Append returns %v", err)
	}
}

func TestALogIsGoneOnceItsNewestMessageIsTooOld(t *testing.T) {
	s := startServer(t)
	o := open(t, s.url(), func(s *Store) { s.KeepAge = caddy.Duration(200 * time.Millisecond) })
	o.awaitUp(t)
	l := o.Log("a")
	first := storestest.Add(t, l, 0, "one")
	storestest.Eventually(t, "the log is empty", func() bool {
		_, err := l.Head(t.Context())
		return errors.Is(err, store.ErrEmpty)
	})
	messages, _ := storestest.Follow(t, l, first)
	if second := storestest.Add(t, l, 0, "two"); second <= first {
		t.Errorf("the place %d comes after %d", second, first)
	}
	if m := storestest.Next(t, messages); string(m.Data) != "two" {
		t.Errorf("%q is read", m.Data)
	}
}

// The last notification can get lost with its connection.
func TestAMessageOfWhichNobodyIsToldIsRead(t *testing.T) {
	s := startServer(t)
	o := open(t, s.url())
	o.awaitUp(t)
	l := o.Log("a")
	first := storestest.Add(t, l, 0, "one")
	messages, _ := storestest.Follow(t, l, first)
	s.do("EVAL", `redis.call('XADD', KEYS[1], '*', 'd', 'two'); return 1`, 1, "sse:log:a")
	if m := storestest.Next(t, messages); string(m.Data) != "two" {
		t.Errorf("%q is read", m.Data)
	}
}

func TestAMessageThatIsTooLargeIsRefusedAsSuch(t *testing.T) {
	s := startServer(t, "--proto-max-bulk-len", "1mb")
	o := open(t, s.url())
	o.awaitUp(t)
	l := o.Log("a")
	for _, size := range []int{1<<20 + 1, 8 << 20, largest + 1} {
		if _, err := l.Append(t.Context(), 0, make([]byte, size)); !errors.Is(err, store.ErrTooLarge) {
			t.Errorf("%d bytes: %v", size, err)
		}
	}
	storestest.Add(t, l, 0, strings.Repeat("x", 1<<20))
}
