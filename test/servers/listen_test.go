//go:build integration

package servers_test

import (
	"encoding/json"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/seed-4dedbcea/caddy-sse/internal/ssetest"
)

// sendUntilHeard sends datagrams until one has arrived: the first ones may be lost while the socket is not there yet.
func sendUntilHeard(t *testing.T, s *ssetest.Stream, address, text string) {
	t.Helper()
	conn, err := net.Dial("udp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ssetest.Wait(t, "a datagram to arrive", func() bool {
		_, _ = conn.Write([]byte(text)) // refused while nobody listens
		time.Sleep(20 * time.Millisecond)
		return len(s.Events()) > 0
	})
}

// startRsyslogd starts one that takes messages at address and does with them what action says.
func startRsyslogd(t *testing.T, address, action string) {
	t.Helper()
	dir := t.TempDir()
	config := write(t, "rsyslog.conf", fmt.Sprintf(`
		global(workDirectory="%s")
		module(load="imtcp")
		input(type="imtcp" address="127.0.0.1" port="%s")
		%s`, dir, portOf(address), action))
	start(t, "rsyslogd", "-n", "-f", config, "-i", filepath.Join(dir, "pid")).waitListening(t, address)
}

func TestSyslogDatagramsBecomeEvents(t *testing.T) {
	address, rsyslogd := freeAddress(t), freeAddress(t)
	url := serve(t, "syslog", "SYSLOG="+address)
	s := open(t, url)
	sendUntilHeard(t, s, address, "<14>1 - - - - - - ready")

	type message struct {
		Severity                    int
		Timestamp, Appname, Message string
	}
	decode := func(e ssetest.Event) (m message) {
		if err := json.Unmarshal([]byte(e.Data), &m); err != nil || m.Severity != 3 || e.Type != "severity-3" || m.Appname != "app" || m.Timestamp == "" {
			t.Errorf("event %+v is not a message of RFC 5424: %v", e, err)
		}
		return m
	}
	logger := func(network, address, text string) {
		run(t, "logger", "-n", "127.0.0.1", "-P", portOf(address), network, "-p", "user.err", "-t", "app", text)
	}
	logger("-d", address, "Zürich\tcalling, straight from logger")
	straight := await(t, s, "logger's message", saying("straight"))
	if got := decode(straight).Message; got != "Zürich\tcalling, straight from logger" {
		t.Errorf("the message is %q", got)
	}

	startRsyslogd(t, rsyslogd, fmt.Sprintf(
		`*.* action(type="omfwd" target="127.0.0.1" port="%s" protocol="udp" template="RSYSLOG_SyslogProtocol23Format")`, portOf(address)))
	logger("-T", rsyslogd, "by way of rsyslog")
	forwarded := await(t, s, "rsyslog's message", saying("by way of rsyslog"))
	if got := strings.TrimSpace(decode(forwarded).Message); got != "by way of rsyslog" {
		t.Errorf("the message is %q", got)
	}
	checkIDs(t, s)

	late := open(t, url)
	await(t, late, "what has been kept", saying("by way of rsyslog"))
	if got, want := strings.Join(data(late), "|"), strings.Join(data(s), "|"); got != want {
		t.Errorf("a late client's events say %s, want %s", got, want)
	}
}

func TestSyslogDatagramsOfTheOlderRFCBecomeEvents(t *testing.T) {
	address, rsyslogd := freeAddress(t), freeAddress(t)
	s := open(t, serve(t, "syslog", "SYSLOG="+address))
	sendUntilHeard(t, s, address, "<14>Oct  1 22:14:15 ready")
	startRsyslogd(t, rsyslogd, fmt.Sprintf(
		`*.* action(type="omfwd" target="127.0.0.1" port="%s" protocol="udp" template="RSYSLOG_TraditionalForwardFormat")`, portOf(address)))
	for i, sent := range []struct{ network, address, text string }{
		{"-d", address, "Zürich: calling [1], straight from logger"},
		{"-T", rsyslogd, "by way: of rsyslog"},
	} {
		logger := func(priority, text string) {
			run(t, "logger", "-n", "127.0.0.1", "-P", portOf(sent.address), sent.network, "--rfc3164", "-p", priority, "-t", "app", "--id=4711", text)
		}
		logger("local3.debug", "for debugging")
		logger("local3.warning", sent.text)
		e := await(t, s, sent.text, saying(sent.text))
		var message struct {
			Facility, Severity                            int
			Timestamp, Hostname, Appname, Procid, Message string
		}
		if err := json.Unmarshal([]byte(e.Data), &message); err != nil || e.Type != "severity-4" || message.Severity != 4 || message.Facility != 19 ||
			message.Appname != "app" || message.Procid != "4711" || message.Hostname == "" || strings.TrimSpace(message.Message) != sent.text {
			t.Errorf("message %d is %+v: %v", i, e, err)
		}
		if _, err := time.Parse(time.Stamp, message.Timestamp); err != nil {
			t.Errorf("message %d is not of RFC 3164: %v", i, err)
		}
	}
	for _, text := range data(s) {
		if strings.Contains(text, "for debugging") {
			t.Errorf("where lets %s pass", text)
		}
	}
	checkIDs(t, s)
}

// exampleRsyslogConfig is the part of rsyslog's config that the example shows.
func exampleRsyslogConfig(t *testing.T, address string) string {
	t.Helper()
	_, config, found := strings.Cut(readExample(t, "rsyslog/Caddyfile"), "#     template(")
	config, _, ended := strings.Cut(config, "\n\n")
	if !found || !ended {
		t.Fatal("the example does not show rsyslog's config any more")
	}
	config = strings.ReplaceAll("template("+config, "\n#", "\n")
	return strings.ReplaceAll(config, "5141", portOf(address))
}

func TestRsyslogMessagesAsJSONBecomeEventsNamedAfterTheirSeverity(t *testing.T) {
	address, rsyslogd := freeAddress(t), freeAddress(t)
	s := open(t, serve(t, "rsyslog", "RSYSLOG="+address))
	sendUntilHeard(t, s, address, `{"severity":"info","message":"ready"}`)
	startRsyslogd(t, rsyslogd, exampleRsyslogConfig(t, address))
	for _, message := range [][2]string{{"user.debug", "not for us"}, {"user.err", `it "broke" at C:\`}, {"user.notice", "last"}} {
		run(t, "logger", "-n", "127.0.0.1", "-P", portOf(rsyslogd), "-T", "-p", message[0], "-t", "app", message[1])
		if message[0] == "user.err" {
			send(t, "udp", address, "this is not JSON")
		}
	}

	var said []string
	await(t, s, "the last message", func(e ssetest.Event) bool { return e.Type == "notice" })
	for _, e := range s.Events() {
		var message struct{ Program, Severity, Message string }
		if err := json.Unmarshal([]byte(e.Data), &message); err != nil || message.Severity != e.Type {
			t.Errorf("event %+v is not a message of its type: %v", e, err)
		}
		if message.Program == "app" {
			said = append(said, e.Type+": "+strings.TrimSpace(message.Message))
		}
	}
	if got, want := strings.Join(said, ", "), `err: it "broke" at C:\, notice: last`; got != want {
		t.Errorf("messages are %s, want %s", got, want)
	}
	checkIDs(t, s)
}
