package redis

import (
	"errors"
	"strings"
	"testing"

	"github.com/seed-4dedbcea/caddy-sse/internal/storestest"

	"github.com/seed-4dedbcea/caddy-sse/store"
)

// rights are the rights that the documentation names.
const rights = "~sse:* &sse:* -@all +ping +select +eval +evalsha +time " +
	"+xadd +xrange +xrevrange +xlen +xtrim +pexpire +publish +subscribe +unsubscribe"

func TestARefusalSaysWhatToChange(t *testing.T) {
	secured := startServer(t)
	for _, user := range []string{"good " + rights, "narrow " + strings.ReplaceAll(rights, "sse:*", "other:*"), "deaf " + strings.Replace(rights, "&sse:*", "", 1),
		"reader " + strings.Replace(rights, "+xadd", "", 1)} {
		args := []any{"ACL", "SETUSER"}
		for i, word := range strings.Fields(user) {
			if args = append(args, word); i == 0 {
				args = append(args, "reset", "on", ">secret")
			}
		}
		secured.do(args...)
	}
	locked := startServer(t, "--requirepass", "secret")
	replica := startServer(t)
	replica.do("REPLICAOF", "127.0.0.1", secured.port)
	cluster := startServer(t, "--cluster-enabled", "yes")
	full := startServer(t, "--maxmemory", "1")
	other := startServer(t)
	other.do("SET", "sse:check", "x")

	at := func(s *server, userinfo string) string { return strings.Replace(s.url(), "//", "//"+userinfo, 1) }
	for name, test := range map[string]struct{ url, change string }{
		"no password":       {locked.url(), "password"},
		"wrong password":    {at(locked, ":wrong@"), "password"},
		"wrong user":        {at(secured, "nobody:secret@"), "password"},
		"other keys":        {at(secured, "narrow:secret@"), "rights"},
		"no channels":       {at(secured, "deaf:secret@"), "rights"},
		"no command":        {at(secured, "reader:secret@"), "rights"},
		"replica":           {replica.url(), "primary"},
		"cluster":           {cluster.url(), "cluster"},
		"no memory":         {full.url(), "maxmemory"},
		"key of other kind": {other.url(), "prefix"},
		"no such database":  {other.url() + "/99", "database"},
	} {
		t.Run(name, func(t *testing.T) {
			o := open(t, test.url)
			err := o.await(t, "it is refused", func(err error) bool { return err != nil })
			if !errors.Is(err, store.ErrRefused) || !strings.Contains(err.Error(), test.change) {
				t.Errorf("it is reported that %v", err)
			}
		})
	}

	t.Run("the rights in the documentation suffice", func(t *testing.T) {
		o := open(t, at(secured, "good:secret@"))
		if err := <-o.reports; err != nil {
			t.Fatal(err)
		}
		l := o.Log("a")
		first := storestest.Add(t, l, 0, "one")
		messages, _ := storestest.Follow(t, l, 0)
		storestest.Next(t, messages)
		storestest.Add(t, l, first, "two")
		storestest.Next(t, messages)
	})

	t.Run("a log of another kind", func(t *testing.T) {
		o := open(t, other.url(), func(s *Store) { s.Prefix = "x" })
		o.awaitUp(t)
		other.do("SET", "x:log:a", "x")
		l := o.Log("a")
		_, err := l.Head(t.Context())
		_, err2 := l.Append(t.Context(), 0, nil)
		_, ended := storestest.Follow(t, l, 0)
		for _, err := range []error{err, err2, storestest.Next(t, ended), l.Trim(t.Context(), 1)} {
			if !errors.Is(err, store.ErrRefused) || !strings.Contains(err.Error(), "prefix") {
				t.Error(err)
			}
		}
		other.do("XADD", "x:log:b", "*", "k", "v", "k2", "v2")
		if _, err := o.Log("b").Head(t.Context()); !errors.Is(err, store.ErrRefused) {
			t.Error(err)
		}
	})
}

// The server has its old messages, and perhaps not its newest ones.
func TestAPrimaryThatHasBecomeAReplicaIsNotRead(t *testing.T) {
	s, primary := startServer(t), startServer(t)
	o := open(t, s.url())
	o.awaitUp(t)
	l := o.Log("a")
	first := storestest.Add(t, l, 0, "one")
	_, ended := storestest.Follow(t, l, first)
	s.do("REPLICAOF", "127.0.0.1", primary.port)
	_, err := l.Head(t.Context())
	for _, err := range []error{err, storestest.Next(t, ended)} {
		if !errors.Is(err, store.ErrRefused) || !strings.Contains(err.Error(), "primary") {
			t.Error(err)
		}
	}
}

func TestAPasswordThatIsCorrectedIsNoticed(t *testing.T) {
	s := startServer(t, "--requirepass", "secret")
	o := open(t, s.url())
	o.await(t, "it is refused", func(err error) bool { return errors.Is(err, store.ErrRefused) })
	s.password = "secret"
	s.do("CONFIG", "SET", "requirepass", "")
	o.awaitUp(t)
}
