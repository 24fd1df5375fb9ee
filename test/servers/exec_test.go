//go:build integration

package servers_test

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/seed-4dedbcea/caddy-sse/internal/ssetest"
)

func TestMQTTMessagesBecomeEventsNamedAfterTheirTopic(t *testing.T) {
	address := freeAddress(t)
	config := write(t, "mosquitto.conf", fmt.Sprintf("listener %s 127.0.0.1\nallow_anonymous true\n", portOf(address)))
	start(t, "mosquitto", "-c", config).waitListening(t, address)
	program(t, "mosquitto_sub")
	publish := func(topic, payload string, options ...string) {
		run(t, "mosquitto_pub", append([]string{"-p", portOf(address), "-t", topic, "-m", payload}, options...)...)
	}
	publish("sensors/kitchen", `{"celsius":21.5}`, "-r") // kept for whoever subscribes later
	s := open(t, serve(t, "mqtt", "MQTT_PORT="+portOf(address)))
	s.WaitEvents(1)
	publish("elsewhere", "not subscribed")
	publish("sensors/door", "Zürich \"open\"\nsince noon")
	publish("sensors/bell", "")

	for i, e := range s.WaitEvents(3) {
		want := []ssetest.Event{
			{Type: "sensors/kitchen", Data: `{"celsius":21.5}`},
			{Type: "sensors/door", Data: "Zürich \"open\"\nsince noon"},
			{Type: "sensors/bell", Data: ""},
		}[i]
		if e.Type != want.Type || e.Data != want.Data {
			t.Errorf("event %d is %s, %q, want %s, %q", i, e.Type, e.Data, want.Type, want.Data)
		}
	}
	checkIDs(t, s)
}

func TestKafkaMessagesBecomeEventsWithTheirPlaceInTheTopic(t *testing.T) {
	// librdkafka has a broker for tests. It lives in a producer, as long as that has something to send.
	broker := exec.Command(program(t, "kcat"), "-P", "-b", "localhost", "-t", "orders", "-p", "0", "-X", "test.mock.num.brokers=1", "-d", "mock")
	stdin, err := broker.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	kafka := startCommand(t, broker)
	pattern := regexp.MustCompile(`bootstrap\.servers=(\S+)`)
	ssetest.Wait(t, "the broker to listen", func() bool { return pattern.MatchString(kafka.output.String()) })
	address := pattern.FindStringSubmatch(kafka.output.String())[1]
	produce := func(key, payload string) {
		t.Helper()
		cmd := exec.Command(program(t, "kcat"), "-P", "-b", address, "-t", "orders", "-p", "0", "-k", key, "-D", "\x1e")
		cmd.Stdin = strings.NewReader(payload)
		if said, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, said)
		}
	}
	produce("new", `{"id":1}`)
	s := open(t, serve(t, "kafka", "KAFKA="+address, "KAFKA_TOPIC=orders", "KAFKA_OFFSET=beginning"))
	s.WaitEvents(1)
	produce("paid", "Zürich \"paid\"\nat noon")
	for i, e := range s.WaitEvents(2) {
		want := []ssetest.Event{{ID: "0-0", Type: "new", Data: `{"id":1}`}, {ID: "0-1", Type: "paid", Data: "Zürich \"paid\"\nat noon"}}[i]
		if e.ID != want.ID || e.Type != want.Type || e.Data != want.Data {
			t.Errorf("event %d is %+v, want %+v", i, e, want)
		}
	}
	stdin.Close()
}

func TestNotificationsOfPostgreSQLBecomeEvents(t *testing.T) {
	address, dir := freeAddress(t), t.TempDir()
	for folder := dir; folder != os.TempDir(); folder = filepath.Dir(folder) { // PostgreSQL does not run as root
		if err := os.Chmod(folder, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	as := func(name string, args ...string) *exec.Cmd {
		args = append([]string{program(t, name)}, args...)
		if os.Getuid() == 0 {
			args = append([]string{program(t, "setpriv"), "--reuid=65534", "--regid=65534", "--clear-groups"}, args...)
		}
		cmd := exec.Command(args[0], args[1:]...)
		cmd.Dir = dir
		return cmd
	}
	if os.Getuid() == 0 {
		if err := os.Chown(dir, 65534, 65534); err != nil {
			t.Fatal(err)
		}
	}
	if said, err := as("initdb", "-D", "data", "-A", "trust", "-U", "postgres", "--no-sync", "-E", "UTF8", "--locale=C").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, said)
	}
	startPostgres := func() *process {
		server := startCommand(t, as("postgres", "-D", "data", "-p", portOf(address), "-k", "", "-c", "fsync=off", "-c", "listen_addresses=127.0.0.1"))
		t.Cleanup(func() { _ = server.cmd.Process.Signal(os.Interrupt) }) // at a SIGTERM it would wait for its clients
		server.waitListening(t, address)
		return server
	}
	url := "postgresql://postgres@" + address + "/postgres"
	psql := func(sql string) string {
		t.Helper()
		return strings.TrimSpace(run(t, "psql", "-XqAt", url, "-c", sql))
	}
	listening := func() {
		t.Helper()
		ssetest.Wait(t, "psql to listen", func() bool {
			said, err := exec.Command(program(t, "psql"), "-XqAt", url, "-c", "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'psql' AND pid <> pg_backend_pid()").Output()
			return err == nil && strings.TrimSpace(string(said)) == "1"
		})
	}
	postgres := startPostgres()
	s := open(t, serve(t, "postgresql", "DATABASE_URL="+url))
	listening()
	ssetest.Wait(t, "the first notification", func() bool {
		psql(`NOTIFY orders, 'ready'`)
		return len(s.Events()) > 0
	})
	psql(`NOTIFY elsewhere, 'not for us'`)
	psql(`SELECT pg_notify('orders', E'two\nlines')`)
	psql(`NOTIFY orders, '{"id":1,"city":"Zürich","said":"a \" received from b"}'`)
	e := await(t, s, "the notification", saying(`"id":1`))
	if e.Type != "orders" || e.Data != `{"id":1,"city":"Zürich","said":"a \" received from b"}` {
		t.Errorf("event is %+v", e)
	}
	for _, text := range data(s) {
		if text != "ready" && text != e.Data {
			t.Errorf("there is an event of %q", text)
		}
	}

	_ = postgres.cmd.Process.Signal(os.Interrupt)
	postgres.waitExit(t)
	startPostgres()
	listening()
	ssetest.Wait(t, "a notification after the restart", func() bool {
		psql(`NOTIFY orders, 'back'`)
		return slices.Contains(data(s), "back")
	})
}

func TestPHPScriptsBecomeStreams(t *testing.T) {
	address := freeAddress(t)
	program(t, "php")
	start(t, "php-cgi", "-b", address).waitListening(t, address)
	root, err := filepath.Abs("../../examples/php")
	if err != nil {
		t.Fatal(err)
	}
	url := serve(t, "php", "PHP="+address, "PHP_ROOT="+root)
	visitor, worker := open(t, url+"/import.php", ssetest.With("Accept", "text/event-stream")), open(t, url+"/worker")
	events := visitor.WaitEvents(10)
	for i, want := range []string{`read {"step":"read","percent":0}`, `read {"step":"read","percent":50}`, `read {"step":"read","percent":100}`, `check {"step":"check","percent":0}`} {
		if got := events[i].Type + " " + events[i].Data; got != want || events[i].ID != fmt.Sprint(i+1) {
			t.Errorf("event %d is %+v, want %s", i, events[i], want)
		}
	}
	if err := visitor.WaitEnd(); err != nil || events[9].Type != "done" {
		t.Errorf("the last event is %+v, and the stream ended with %v", events[9], err)
	}
	for i, e := range worker.WaitEvents(3) {
		if !strings.HasPrefix(e.Data, fmt.Sprintf(`{"n":%d,`, i+1)) {
			t.Errorf("event %d of the worker is %+v", i, e)
		}
	}
	for _, path := range []string{"/worker.php", "/Caddyfile"} {
		response, err := ssetest.Client(t, "h1").Get(url + path)
		if err != nil {
			t.Fatal(err)
		}
		if body, _ := io.ReadAll(response.Body); len(body) > 0 {
			t.Errorf("%s says %q", path, body)
		}
		response.Body.Close()
	}
}

func TestAPythonScriptsLinesAreEventsAtOnce(t *testing.T) {
	program(t, "python3")
	s := open(t, serve(t, "python", "SCRIPT="+write(t, "sensor.py", readExample(t, "python/sensor.py"))))
	alarm := await(t, s, "an alarm", func(e ssetest.Event) bool { return e.Type == "alarm" })
	if !strings.Contains(alarm.Data, `"n": 11,`) || !strings.Contains(alarm.Data, `"sensor": "kitchen"`) {
		t.Errorf("the first alarm is %+v", alarm)
	}
	for i, e := range s.Events()[:5] {
		if e.Type != "reading" || !strings.Contains(e.Data, fmt.Sprintf(`"n": %d,`, 2*i+2)) {
			t.Errorf("event %d is %+v", i, e)
		}
	}
	checkIDs(t, s)
}

func TestTailFollowsALogThroughRotation(t *testing.T) {
	log := write(t, "app.log", "one\ntwo\n")
	program(t, "tail")
	url := serve(t, "tail", "LOG="+log)
	s := open(t, url)
	s.WaitEvents(2)
	appendTo(t, log, "three\nhalf a")
	s.WaitEvents(3)
	appendTo(t, log, " line\n")
	s.WaitEvents(4)

	if err := os.Rename(log, log+".1"); err != nil {
		t.Fatal(err)
	}
	appendTo(t, log, "five\n")
	s.WaitEvents(5)
	if got, want := strings.Join(data(s), "|"), "one|two|three|half a line|five"; got != want {
		t.Errorf("events say %s, want %s", got, want)
	}
	checkIDs(t, s)

	late := open(t, url)
	late.WaitEvents(5)
	if got, want := strings.Join(data(late), "|"), strings.Join(data(s), "|"); got != want {
		t.Errorf("a late client's events say %s, want %s", got, want)
	}
}

func TestVmstatArrivesLineByLine(t *testing.T) {
	program(t, "vmstat")
	s := open(t, serve(t, "vmstat", "VMSTAT_DELAY=1"))
	for i, e := range s.WaitEvents(4) {
		fields := strings.Fields(e.Data)
		switch {
		case strings.ContainsAny(e.Data, "\r\n"):
			t.Errorf("event %d is more than a line: %q", i, e.Data)
		case i == 0 && fields[0] != "procs", i == 1 && fields[0] != "r":
			t.Errorf("event %d is not a heading of vmstat: %q", i, e.Data)
		case i > 1 && (len(fields) < 17 || strings.Trim(strings.Join(fields, ""), "0123456789") != ""):
			t.Errorf("event %d is not numbers of vmstat: %q", i, e.Data)
		}
	}
	checkIDs(t, s)
}
