//go:build integration

package servers_test

import (
	"fmt"
	"os"
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
