//go:build integration

package servers_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/seed-4dedbcea/caddy-sse/internal/ssetest"
)

// password is what must be found nowhere.
const password = "top-secret"

// storeCaddy is a Caddy with a store.
type storeCaddy struct {
	*process
	url, admin string
}

// startWithStore runs a Caddy whose source has this store, and an upstream that prints these lines again and again.
func startWithStore(t *testing.T, store string, lines ...string) storeCaddy {
	t.Helper()
	caddy, _ := fleetPrograms(t)
	address, admin := freeAddress(t), freeAddress(t)
	loop := "while :; do cat '" + write(t, "lines", strings.Join(lines, "\n")+"\n") + "'; sleep 0.1; done"
	config := write(t, "Caddyfile", fmt.Sprintf("{\n\tadmin %s\n}\nhttp://localhost:%s {\n\tbind 127.0.0.1\n\tsse {\n\t\tbackend exec sh -c %q\n\t\theartbeat 100ms\n\t\tshare {\n\t\t\t%s\n\t\t}\n\t}\n}\n",
		admin, portOf(address), loop, store))
	cmd := exec.Command(caddy, "run", "--config", config)
	dir := t.TempDir()
	cmd.Env = append(os.Environ(), "HOME="+dir, "XDG_CONFIG_HOME="+dir, "XDG_DATA_HOME="+dir)
	c := storeCaddy{startCommand(t, cmd), "http://localhost:" + portOf(address), admin}
	c.waitListening(t, address)
	return c
}

// logged returns the errors that the log has with this level and message, and whether anything more serious than
// information has come with another.
func (c storeCaddy) logged(level, message string) (errors, others []string) {
	for line := range strings.Lines(c.output.String()) {
		var entry struct{ Level, Logger, Msg, Error string }
		if json.Unmarshal([]byte(line), &entry) != nil || !strings.HasPrefix(entry.Logger, "http.handlers.sse") {
			continue
		}
		switch {
		case entry.Level == level && entry.Msg == message:
			errors = append(errors, entry.Error)
		case entry.Level == "warn" || entry.Level == "error":
			others = append(others, line)
		}
	}
	return errors, others
}

// lastError is what the admin API says about the one source.
func (c storeCaddy) lastError(t *testing.T) string {
	t.Helper()
	response, err := http.Get("http://" + c.admin + "/sse/sources")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	var sources []struct {
		LastError string `json:"last_error"`
	}
	if err := json.NewDecoder(response.Body).Decode(&sources); err != nil || len(sources) != 1 {
		t.Fatalf("there are %d sources: %v", len(sources), err)
	}
	return sources[0].LastError
}

// holdsOut checks what a store that cannot be used does to a client, the log and the admin API until it is mended.
func (c storeCaddy) holdsOut(t *testing.T, level, message string, says []string, mend func()) {
	t.Helper()
	s := open(t, c.url)
	s.WaitComments(30) // for as long as the store is tried several times
	if events := s.Events(); len(events) > 0 {
		t.Errorf("events have come: %+v", events)
	}
	errors, others := c.logged(level, message)
	if len(errors) != 1 || len(others) > 0 {
		t.Fatalf("the log has %q, and %q", errors, others)
	}
	for where, text := range map[string]string{"the log": errors[0], "last_error": c.lastError(t)} {
		for _, words := range says {
			if !strings.Contains(text, words) {
				t.Errorf("%s does not say %q: %s", where, words, text)
			}
		}
	}
	t.Logf("%s: %s", level, errors[0])

	mend()
	await(t, s, "the stream to go on", saying("line"))
	ssetest.Wait(t, "last_error to go", func() bool { return c.lastError(t) == "" })
	if good, _ := c.logged("info", "store can be used"); len(good) != 1 {
		t.Errorf("the log says %d times that the store can be used", len(good))
	}
	if strings.Contains(c.output.String(), password) {
		t.Error("the log has the password")
	}
	if found, _ := c.logged(level, message); len(found) != 1 {
		t.Errorf("the log has it again: %q", found)
	}
}

// natsServer is a nats-server with JetStream.
type natsServer struct {
	t               *testing.T
	*process        // nil before it is started
	address, config string
}

func newNATS(t *testing.T, lines ...string) *natsServer {
	s := &natsServer{t: t, address: freeAddress(t), config: filepath.Join(t.TempDir(), "nats.conf")}
	s.configure(lines...)
	return s
}

func (s *natsServer) configure(lines ...string) {
	s.t.Helper()
	text := fmt.Sprintf("listen: %q\njetstream { store_dir: %q }\n%s\n", s.address, filepath.Dir(s.config), strings.Join(lines, "\n"))
	if err := os.WriteFile(s.config, []byte(text), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

func (s *natsServer) start() *natsServer {
	s.t.Helper()
	_, program := fleetPrograms(s.t)
	s.process = startCommand(s.t, exec.Command(program, "-c", s.config))
	s.waitListening(s.t, s.address)
	return s
}

// reconfigure has it read another config.
func (s *natsServer) reconfigure(lines ...string) {
	s.t.Helper()
	s.configure(lines...)
	if err := s.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		s.t.Fatal(err)
	}
}

// ask asks JetStream, in NATS's own words, and returns its answer.
func (s *natsServer) ask(subject, body string) string {
	s.t.Helper()
	conn, err := net.Dial("tcp", s.address)
	if err != nil {
		s.t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "CONNECT {\"verbose\":false}\r\nSUB answer 1\r\nPUB $JS.API.%s answer %d\r\n%s\r\n", subject, len(body), body)
	for lines := bufio.NewReader(conn); ; {
		line, err := lines.ReadString('\n')
		if err != nil {
			s.t.Fatal(err)
		}
		if strings.HasPrefix(line, "MSG answer ") {
			answer, _ := lines.ReadString('\n')
			return answer
		}
	}
}

const refuses = "store refuses: trying again"

func TestNATSThatRefusesIsAnErrorThatSaysWhatToChangeAndThenStreamsGoOn(t *testing.T) {
	user := func(name, word, rights string) string {
		return fmt.Sprintf("authorization { users: [{ user: %s, password: %s%s }] }", name, word, rights)
	}
	t.Run("a wrong password", func(t *testing.T) {
		s := newNATS(t, user("caddy", "another", "")).start()
		c := startWithStore(t, "store nats nats://"+s.address+" {\n\t\t\t\tuser caddy "+password+"\n\t\t\t}", "line")
		c.holdsOut(t, "error", refuses, []string{"correct user, token, credentials or nkey"}, func() { s.reconfigure(user("caddy", password, "")) })
	})
	t.Run("missing rights", func(t *testing.T) {
		s := newNATS(t, user("caddy", password, ", permissions: { publish: { deny: \"sse.log.*\" } }")).start()
		c := startWithStore(t, "store nats nats://"+s.address+" {\n\t\t\t\tuser caddy "+password+"\n\t\t\t}", "line")
		c.holdsOut(t, "error", refuses, []string{"give the user the rights", "sse.log."}, func() { s.reconfigure(user("caddy", password, "")) })
	})
	t.Run("a stream of another kind", func(t *testing.T) {
		s := newNATS(t).start()
		if answer := s.ask("STREAM.CREATE.SSE", `{"name":"SSE","subjects":["sse.log.*"],"allow_direct":true,"storage":"file"}`); !strings.Contains(answer, `"did_create":true`) {
			t.Fatal(answer)
		}
		c := startWithStore(t, "store nats nats://"+s.address, "line")
		c.holdsOut(t, "error", refuses, []string{"SSE", "republish"}, func() { s.ask("STREAM.DELETE.SSE", "") })
	})
}

func TestRedisThatRefusesIsAnErrorThatSaysWhatToChangeAndThenStreamsGoOn(t *testing.T) {
	run := func(t *testing.T) (address string, cli func(args ...string)) {
		address = freeAddress(t)
		start(t, "redis-server", "--port", portOf(address), "--bind", "127.0.0.1", "--dir", t.TempDir(), "--save", "").waitListening(t, address)
		return address, func(args ...string) {
			t.Helper()
			if said := run(t, "redis-cli", append([]string{"-p", portOf(address)}, args...)...); strings.Contains(said, "ERR") {
				t.Fatal(said)
			}
		}
	}
	t.Run("a wrong password", func(t *testing.T) {
		address, cli := run(t)
		cli("ACL", "SETUSER", "caddy", "on", ">another", "~*", "&*", "+@all")
		c := startWithStore(t, "store redis redis://caddy:"+password+"@"+address, "line")
		c.holdsOut(t, "error", refuses, []string{"correct the user and the password"}, func() { cli("ACL", "SETUSER", "caddy", ">"+password) })
	})
	t.Run("missing rights", func(t *testing.T) {
		address, cli := run(t)
		cli("ACL", "SETUSER", "caddy", "on", ">"+password, "~*", "&*", "+@all", "-xadd")
		c := startWithStore(t, "store redis redis://caddy:"+password+"@"+address, "line")
		c.holdsOut(t, "error", refuses, []string{"give the user the rights"}, func() { cli("ACL", "SETUSER", "caddy", "+xadd") })
	})
}

func TestRightsThatAreTakenAwayWhileStreamsAreOpenAreOneErrorAndThenStreamsGoOn(t *testing.T) {
	check := func(t *testing.T, c storeCaddy, take, give func()) {
		s := open(t, c.url)
		await(t, s, "the stream to begin", saying("line"))
		take()
		refusals := func() []string { found, _ := c.logged("error", refuses); return found }
		ssetest.Wait(t, "the refusal", func() bool {
			return len(refusals()) > 0 && strings.Contains(c.lastError(t), "give the user the rights")
		})
		stored := len(s.Events())
		s.WaitComments(len(s.Comments()) + 30)
		if now := len(s.Events()); now != stored {
			t.Errorf("%d more events have come", now-stored)
		}
		give()
		ssetest.Wait(t, "the stream to go on", func() bool { return len(s.Events()) > stored })
		ssetest.Wait(t, "last_error to go", func() bool { return c.lastError(t) == "" })
		found, others := c.logged("error", refuses)
		good, _ := c.logged("info", "store can be used")
		if len(found) != 1 || len(good) != 2 || len(others) > 0 {
			t.Errorf("the log has %q, %d times that the store can be used, and %q", found, len(good), others)
		}
	}
	t.Run("NATS", func(t *testing.T) {
		rights := func(more string) string {
			return fmt.Sprintf("authorization { users: [{ user: caddy, password: %s%s }] }", password, more)
		}
		s := newNATS(t, rights("")).start()
		c := startWithStore(t, "store nats nats://"+s.address+" {\n\t\t\t\tuser caddy "+password+"\n\t\t\t}", "line")
		check(t, c, func() { s.reconfigure(rights(", permissions: { publish: { deny: \"sse.log.*\" } }")) }, func() { s.reconfigure(rights("")) })
	})
	t.Run("Redis", func(t *testing.T) {
		address := freeAddress(t)
		start(t, "redis-server", "--port", portOf(address), "--bind", "127.0.0.1", "--dir", t.TempDir(), "--save", "").waitListening(t, address)
		rights := func(rules ...string) {
			run(t, "redis-cli", append([]string{"-p", portOf(address), "ACL", "SETUSER", "caddy"}, rules...)...)
		}
		rights("on", ">"+password, "~*", "&*", "+@all")
		c := startWithStore(t, "store redis redis://caddy:"+password+"@"+address, "line")
		check(t, c, func() { rights("-xadd") }, func() { rights("+xadd") })
	})
}

func TestAConfigLoadsWithoutItsStoreAndStreamsBeginOnceThatIsThere(t *testing.T) {
	const away = "store cannot be used: trying again"
	t.Run("NATS", func(t *testing.T) {
		s := newNATS(t)
		c := startWithStore(t, "store nats nats://"+s.address, "line")
		c.holdsOut(t, "warn", away, []string{s.address, "refused"}, func() { s.start() })
	})
	t.Run("Redis", func(t *testing.T) {
		address := freeAddress(t)
		c := startWithStore(t, "store redis redis://:"+password+"@"+address, "line")
		c.holdsOut(t, "warn", away, []string{address, "refused"}, func() {
			start(t, "redis-server", "--port", portOf(address), "--bind", "127.0.0.1", "--dir", t.TempDir(), "--save", "", "--requirepass", password)
		})
	})
}

func TestARecordLargerThanTheStoreTakesIsAGapAndSaysWhatToChange(t *testing.T) {
	s := newNATS(t, "max_payload: 300000").start()
	c := startWithStore(t, "store nats nats://"+s.address, "line 1", strings.Repeat("x", 400000), "line 2")
	stream := open(t, c.url)
	await(t, stream, "a gap", func(e ssetest.Event) bool { return e.Type == "sse-gap" && strings.Contains(e.Data, "record_too_large") })
	await(t, stream, "the record after it", saying("line 2"))
	response, err := http.Get("http://" + c.admin + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if text, err := io.ReadAll(response.Body); err != nil || strings.Contains(string(text), "\ncaddy_sse_store_appends_total{result=\"too_large\"} 0\n") {
		t.Errorf("it is not counted: %v", err)
	}
	warnings, others := c.logged("warn", "record is too large for the store")
	if len(warnings) == 0 || len(warnings) > 10 || !strings.Contains(warnings[0], "max_payload") || len(others) > 0 {
		t.Errorf("the log has %q, and %q", warnings, others)
	}
}

func TestAStoreThatIsFullIsAnErrorThatSaysWhatToChangeAndThenStreamsGoOn(t *testing.T) {
	limit := func(size string) string {
		return "accounts: { a: { jetstream: { max_file: " + size + " }, users: [{ user: caddy, password: " + password + " }] } }"
	}
	s := newNATS(t, limit("1MB")).start()
	c := startWithStore(t, "store nats nats://"+s.address+" {\n\t\t\t\tuser caddy "+password+"\n\t\t\t}", strings.Repeat("x", 100000))
	stream := open(t, c.url)
	refusals := func() []string { found, _ := c.logged("error", refuses); return found }
	ssetest.Wait(t, "the store to be full", func() bool { return len(refusals()) > 0 && c.lastError(t) != "" })
	for _, text := range []string{refusals()[0], c.lastError(t)} {
		if !strings.Contains(text, "keep less") {
			t.Errorf("it is not said what to change: %s", text)
		}
	}
	stored := len(stream.Events())
	stream.WaitComments(30)
	if _, others := c.logged("error", refuses); len(refusals()) != 1 || len(others) > 0 {
		t.Errorf("the log has %q, and %q", refusals(), others)
	}
	s.reconfigure(limit("1GB"))
	ssetest.Wait(t, "the stream to go on", func() bool { return len(stream.Events()) > stored })
	ssetest.Wait(t, "last_error to go", func() bool { return c.lastError(t) == "" })
}
