package nats_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/seed-4dedbcea/caddy-sse/internal/storestest"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nkeys"

	"github.com/seed-4dedbcea/caddy-sse/store"
	"github.com/seed-4dedbcea/caddy-sse/stores/nats"
)

// The rights that the documentation names, but for the one that it takes to make the stream.
var (
	mayPublish = []string{"sse.log.*", "sse.presence", "$JS.API.STREAM.INFO.SSE", "$JS.API.STREAM.MSG.GET.SSE",
		"$JS.API.STREAM.PURGE.SSE", "$JS.API.DIRECT.GET.SSE"}
	maySubscribe = []string{"sse.live.*", "sse.presence", "_INBOX.>"}
)

// user returns a user with these rights, for a server's config.
func user(name string, publish, subscribe []string) string {
	return fmt.Sprintf("{user: %s, password: secret, permissions: {publish: %s, subscribe: %s}}", name, list(publish), list(subscribe))
}

func list(subjects []string) string { return `["` + strings.Join(subjects, `", "`) + `"]` }

func without(subjects []string, i int) []string { return slices.Delete(slices.Clone(subjects), i, i+1) }

func authorization(users ...string) string {
	return "authorization { users: [{user: admin, password: secret}, " + strings.Join(users, ", ") + "] }"
}

// as sets who connects.
func as(user, password string) func(*nats.Store) {
	return func(s *nats.Store) { s.User, s.Password = user, password }
}

func TestTheRightsInTheDocumentationSuffice(t *testing.T) {
	s := startServer(t, authorization(
		user("first", append(slices.Clone(mayPublish), "$JS.API.STREAM.CREATE.SSE"), maySubscribe), user("good", mayPublish, maySubscribe)))
	for _, name := range []string{"first", "good"} {
		o := open(t, []*server{s}, as(name, "secret"))
		if err := storestest.Next(t, o.reports); err != nil {
			t.Fatal(err)
		}
		l := o.Log(name)
		first := storestest.Add(t, l, 0, "one")
		messages, _ := storestest.Follow(t, l, 0)
		storestest.Next(t, messages)
		second := storestest.Add(t, l, first, "two")
		storestest.Next(t, messages)
		if err := l.Trim(t.Context(), second); err != nil {
			t.Error(err)
		}
		if m, err := l.Head(t.Context()); err != nil || m.Pos != second {
			t.Errorf("Head returns %d, %v", m.Pos, err)
		}
		heard := make(chan []byte, 1000)
		go o.Presence().Watch(t.Context(), func(data []byte) { heard <- data })
		storestest.Eventually(t, "what is announced is heard", func() bool {
			if err := o.Presence().Announce([]byte("x")); err != nil {
				t.Error(err)
			}
			return len(heard) > 0
		})
	}
}

func TestARightThatIsMissingIsNamed(t *testing.T) {
	type missing struct{ name, subject string }
	var users []string
	all := []missing{}
	for i, subject := range mayPublish {
		all = append(all, missing{fmt.Sprint("p", i), subject})
		users = append(users, user(all[len(all)-1].name, without(mayPublish, i), maySubscribe))
	}
	for i, subject := range maySubscribe {
		all = append(all, missing{fmt.Sprint("s", i), subject})
		users = append(users, user(all[len(all)-1].name, mayPublish, without(maySubscribe, i)))
	}
	s := startServer(t, authorization(users...))
	t.Run("to make the stream", func(t *testing.T) {
		o := open(t, []*server{s}, as("p0", "secret"))
		if err := storestest.Next(t, o.reports); !errors.Is(err, store.ErrRefused) || !strings.Contains(err.Error(), "$JS.API.STREAM.CREATE.SSE") {
			t.Errorf("it is reported that %v", err)
		}
	})
	open(t, []*server{s}, as("admin", "secret")).awaitUp(t)
	for _, m := range all {
		t.Run(m.subject, func(t *testing.T) {
			t.Parallel()
			o := open(t, []*server{s}, as(m.name, "secret"))
			err := storestest.Next(t, o.reports)
			if !errors.Is(err, store.ErrRefused) || !strings.Contains(err.Error(), "rights") || !strings.Contains(err.Error(), strings.TrimRight(m.subject, "*>")) {
				t.Errorf("it is reported that %v", err)
			}
		})
	}
}

// A right may be there for some logs.
func TestALogThatMayNotBeWrittenIsRefused(t *testing.T) {
	publish := append(slices.Clone(mayPublish[1:]), "sse.log.check", "sse.log.a", "$JS.API.STREAM.CREATE.SSE")
	s := startServer(t, authorization(user("some", publish, []string{"sse.live.check", "sse.live.a", "sse.presence", "_INBOX.>"})))
	o := open(t, []*server{s}, as("some", "secret"))
	o.awaitUp(t)
	storestest.Add(t, o.Log("a"), 0, "one")
	if _, err := o.Log("b").Append(t.Context(), 0, nil); !errors.Is(err, store.ErrRefused) || !strings.Contains(err.Error(), "sse.log.b") {
		t.Errorf("Append returns %v", err)
	}
	_, ended := storestest.Follow(t, o.Log("b"), 0)
	if err := storestest.Next(t, ended); !errors.Is(err, store.ErrRefused) || !strings.Contains(err.Error(), "sse.live.b") {
		t.Errorf("Follow returns %v", err)
	}
}

func TestWhoConnectsIsChecked(t *testing.T) {
	pair, err := nkeys.CreateUser()
	if err != nil {
		t.Fatal(err)
	}
	public, err := pair.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	other, err := nkeys.CreateUser()
	if err != nil {
		t.Fatal(err)
	}
	seed := func(pair nkeys.KeyPair) string {
		seed, err := pair.Seed()
		file := filepath.Join(t.TempDir(), "seed")
		if err == nil {
			err = os.WriteFile(file, seed, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
		return file
	}
	users := startServer(t, authorization("{nkey: "+public+"}"))
	token := startServer(t, "authorization { token: secret }")
	for name, test := range map[string]struct {
		at     *server
		change func(*nats.Store)
		good   bool
	}{
		"nobody":         {users, func(*nats.Store) {}, false},
		"wrong password": {users, as("admin", "wrong"), false},
		"user":           {users, as("admin", "secret"), true},
		"wrong token":    {token, func(s *nats.Store) { s.Token = "wrong" }, false},
		"token":          {token, func(s *nats.Store) { s.Token = "secret" }, true},
		"wrong key":      {users, func(s *nats.Store) { s.NKey = seed(other) }, false},
		"key":            {users, func(s *nats.Store) { s.NKey = seed(pair) }, true},
		"key, no keys":   {token, func(s *nats.Store) { s.NKey = seed(pair) }, false},
	} {
		t.Run(name, func(t *testing.T) {
			o := open(t, []*server{test.at}, test.change)
			err := storestest.Next(t, o.reports)
			if test.good && err != nil || !test.good && (!errors.Is(err, store.ErrRefused) || !strings.Contains(err.Error(), "user")) {
				t.Errorf("it is reported that %v", err)
			}
		})
	}
}

func TestAPasswordThatIsCorrectedIsNoticed(t *testing.T) {
	s := startServer(t, authorization("{user: caddy, password: other}"))
	o := open(t, []*server{s}, as("caddy", "secret"))
	o.awaitRefused(t)
	s.configure(authorization("{user: caddy, password: secret}"))
	s.signal(syscall.SIGHUP)
	o.awaitUp(t)
	s.configure(authorization("{user: caddy, password: third}"))
	s.signal(syscall.SIGHUP)
	o.awaitRefused(t)
}

func TestAServerWithoutWhatIsNeededIsRefused(t *testing.T) {
	for name, test := range map[string]struct {
		line, want string
		change     func(*nats.Store)
	}{
		"no JetStream":  {"jetstream: disabled", "JetStream", func(*nats.Store) {}},
		"no account":    {"accounts { a { users: [{user: caddy, password: secret}] } }", "JetStream", as("caddy", "secret")},
		"one server":    {"", "replicas", three},
		"short payload": {"max_payload: 65536", "max_payload", func(*nats.Store) {}},
		"no TLS":        {"", "TLS", func(s *nats.Store) { s.URLs[0] = strings.Replace(s.URLs[0], "nats:", "tls:", 1) }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := open(t, []*server{startServer(t, test.line)}, test.change)
			err := storestest.Next(t, o.reports)
			if !errors.Is(err, store.ErrRefused) || !strings.Contains(err.Error(), test.want) {
				t.Errorf("it is reported that %v", err)
			}
		})
	}
}

// good is what a stream has to be.
func good() jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name: "SSE", Subjects: []string{"sse.log.*"}, AllowDirect: true,
		RePublish: &jetstream.RePublish{Source: "sse.log.>", Destination: "sse.live.>"},
	}
}

func TestAStreamOfAnotherKindIsRefusedAndNotChanged(t *testing.T) {
	s := startServer(t)
	js := admin(t, s)
	o := open(t, []*server{s})
	o.awaitUp(t)
	for want, change := range map[string]func(*jetstream.StreamConfig){
		"subjects":     func(c *jetstream.StreamConfig) { c.Subjects = []string{"sse.log.*", "more"} },
		"retention":    func(c *jetstream.StreamConfig) { c.Retention = jetstream.WorkQueuePolicy },
		"discard":      func(c *jetstream.StreamConfig) { c.Discard, c.MaxBytes = jetstream.DiscardNew, 1<<20 },
		"sse.live.>":   func(c *jetstream.StreamConfig) { c.RePublish = nil },
		"headers_only": func(c *jetstream.StreamConfig) { c.RePublish.HeadersOnly = true },
		"allow_direct": func(c *jetstream.StreamConfig) { c.AllowDirect = false },
		"max_age":      func(c *jetstream.StreamConfig) { c.MaxAge = time.Hour },
		"deny_purge":   func(c *jetstream.StreamConfig) { c.DenyPurge = true },
		"no_ack":       func(c *jetstream.StreamConfig) { c.NoAck = true },
	} {
		if err := js.DeleteStream(t.Context(), "SSE"); err != nil {
			t.Fatal(err)
		}
		config := good()
		change(&config)
		_, err := js.CreateStream(t.Context(), config)
		for errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) { // the store was quicker
			_ = js.DeleteStream(t.Context(), "SSE")
			_, err = js.CreateStream(t.Context(), config)
		}
		if err != nil {
			t.Fatalf("%s: %v", want, err)
		}
		refused := o.awaitRefused(t)
		for end := time.Now().Add(within); !strings.Contains(refused.Error(), want); refused = o.awaitRefused(t) { // of the one before
			if time.Now().After(end) {
				t.Fatalf("instead of %s it is reported that %v", want, refused)
			}
		}
		if _, err := o.Log("a").Append(t.Context(), 0, nil); err == nil {
			t.Errorf("%s: a message is added", want)
		}
	}
	if err := js.DeleteStream(t.Context(), "SSE"); err != nil {
		t.Fatal(err)
	}
	o.awaitUp(t) // with a stream that it has made
}

func TestAStreamOfItsOwnerIsTakenAsItIs(t *testing.T) {
	s := startServer(t)
	js := admin(t, s)
	config := good()
	config.Storage, config.MaxBytes, config.MaxMsgSize, config.MaxMsgsPerSubject = jetstream.MemoryStorage, 32<<20, 1000, 10000
	if _, err := js.CreateStream(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	o := open(t, []*server{s})
	o.awaitUp(t)
	l := o.Log("a")
	if _, err := l.Append(t.Context(), 0, make([]byte, 2000)); !errors.Is(err, store.ErrTooLarge) {
		t.Errorf("more than the stream takes: %v", err)
	}
	storestest.Add(t, l, 0, "one")
	stream, err := js.Stream(t.Context(), "SSE")
	if err != nil {
		t.Fatal(err)
	}
	if is := stream.CachedInfo().Config; is.Storage != config.Storage || is.MaxBytes != config.MaxBytes || is.MaxAge != 0 {
		t.Errorf("the stream is %+v", is)
	}
}

func TestSubjectsOfAnotherStreamAreRefused(t *testing.T) {
	s := startServer(t)
	if _, err := admin(t, s).CreateStream(t.Context(), jetstream.StreamConfig{Name: "OTHER", Subjects: []string{"sse.>"}}); err != nil {
		t.Fatal(err)
	}
	o := open(t, []*server{s})
	if err := storestest.Next(t, o.reports); !errors.Is(err, store.ErrRefused) || !strings.Contains(err.Error(), "prefix") {
		t.Errorf("it is reported that %v", err)
	}
	open(t, []*server{s}, func(s *nats.Store) { s.Prefix = "other.sse" }).awaitUp(t)
}

func TestAnAccountThatIsFullSaysWhatToChange(t *testing.T) {
	s := startServer(t, "accounts { a { jetstream { max_file: 1MB }, users: [{user: caddy, password: secret}] } }")
	o := open(t, []*server{s}, as("caddy", "secret"))
	o.awaitUp(t)
	l := o.Log("a")
	var after store.Pos
	for range 100 {
		var err error
		if after, err = l.Append(t.Context(), after, make([]byte, 64<<10)); err != nil {
			if !errors.Is(err, store.ErrRefused) || !strings.Contains(err.Error(), "keep less") {
				t.Errorf("Append returns %v", err)
			}
			return
		}
	}
	t.Error("it is never full")
}

func TestMoreLogsThanMayBeSubscribedToAreRefused(t *testing.T) {
	o := open(t, []*server{startServer(t, "max_subscriptions: 4")})
	o.awaitUp(t)
	ended := make(chan error, 10)
	for i := range 5 {
		go func() {
			ended <- o.Log(fmt.Sprint("log", i)).Follow(t.Context(), 0, func(store.Message) error { return nil })
		}()
	}
	if err := storestest.Next(t, ended); !errors.Is(err, store.ErrRefused) || !strings.Contains(err.Error(), "max_subscriptions") {
		t.Errorf("Follow returns %v", err)
	}
}

func TestAMessageThatIsTooLargeIsNotSent(t *testing.T) {
	const most = 300000
	s := startServer(t, fmt.Sprint("max_payload: ", most))
	o := open(t, []*server{s})
	o.awaitUp(t)
	l := o.Log("a")
	for _, size := range []int{most - 511, most, 2 << 20} {
		if _, err := l.Append(t.Context(), 0, make([]byte, size)); !errors.Is(err, store.ErrTooLarge) {
			t.Errorf("%d bytes: %v", size, err)
		}
	}
	storestest.Add(t, l, 0, strings.Repeat("x", most-512))
	if len(o.reports) > 0 {
		t.Errorf("it is reported that %v", <-o.reports)
	}
}
