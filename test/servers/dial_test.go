//go:build integration

package servers_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/seed-4dedbcea/caddy-sse/internal/ssetest"
)

func startRedis(t *testing.T, address string) *process {
	t.Helper()
	redis := start(t, "redis-server", "--bind", "127.0.0.1", "--port", portOf(address), "--save", "", "--dir", t.TempDir())
	redis.waitListening(t, address)
	return redis
}

// waitMonitored waits until Redis has heard MONITOR, and returns how many have said it.
func waitMonitored(t *testing.T, address string) int {
	t.Helper()
	var monitors int
	ssetest.Wait(t, "redis to be monitored", func() bool {
		monitors = strings.Count(run(t, "redis-cli", "-p", portOf(address), "CLIENT", "LIST"), "cmd=monitor")
		return monitors > 0
	})
	return monitors
}

func TestRedisCommandsBecomeEventsForAllClientsOfOneMonitor(t *testing.T) {
	address := freeAddress(t)
	startRedis(t, address)
	url := serve(t, "redis", "REDIS="+address) + "/monitor"
	streams := []*ssetest.Stream{open(t, url), open(t, url)}
	if n := waitMonitored(t, address); n != 1 {
		t.Errorf("redis has %d monitors, want 1", n)
	}

	run(t, "redis-cli", "-p", portOf(address), "SET", "greeting", "hello")
	run(t, "redis-cli", "-p", portOf(address), "SET", "forged", "\r\n\r\nevent: evil\ndata: evil\n\n")
	run(t, "redis-cli", "-p", portOf(address), "GET", "greeting")
	for _, s := range streams {
		await(t, s, "the last command", saying(`"GET" "greeting"`))
		said := strings.Join(data(s), "\n")
		for _, command := range []string{`"SET" "greeting" "hello"`, `"SET" "forged" "\r\n\r\nevent: evil\ndata: evil\n\n"`} {
			if !strings.Contains(said, command) {
				t.Errorf("no event says %s", command)
			}
		}
		for _, e := range s.Events() {
			if e.Type != "message" || !strings.HasPrefix(e.Data, "+") || e.Data == "+OK" || strings.ContainsAny(e.Data, "\r\n") {
				t.Errorf("event %+v is not a command that redis ran", e)
			}
		}
		checkIDs(t, s)
	}
}

func TestARestartOfRedisLeavesClientsConnected(t *testing.T) {
	address := freeAddress(t)
	redis := startRedis(t, address)
	s := open(t, serve(t, "redis", "REDIS="+address)+"/monitor")
	waitMonitored(t, address)
	run(t, "redis-cli", "-p", portOf(address), "SET", "before", "1")
	await(t, s, "a command before the restart", saying(`"before"`))

	redis.stop()
	startRedis(t, address)
	waitMonitored(t, address)
	run(t, "redis-cli", "-p", portOf(address), "SET", "after", "1")
	await(t, s, "a command after the restart", saying(`"after"`))
	checkIDs(t, s)
}

func TestRedisMessagesBecomeEventsNamedAfterTheirChannel(t *testing.T) {
	address := freeAddress(t)
	startRedis(t, address)
	s := open(t, serve(t, "redis", "REDIS="+address)+"/messages")
	ssetest.Wait(t, "redis to have a subscriber", func() bool {
		return strings.TrimSpace(run(t, "redis-cli", "-p", portOf(address), "PUBLISH", "orders.ready", "?")) == "1"
	})
	s.WaitEvents(1)
	messages := [][2]string{{"orders.new", `{"id":1,"city":"Zürich"}`}, {"orders.note", "two\nlines, \"quoted\""}, {"orders.paid", ""}}
	for _, m := range messages {
		run(t, "redis-cli", "-p", portOf(address), "PUBLISH", "elsewhere", "not subscribed")
		run(t, "redis-cli", "-p", portOf(address), "PUBLISH", m[0], m[1])
	}
	for i, e := range s.WaitEvents(4)[1:] {
		if e.Type != messages[i][0] || e.Data != messages[i][1] {
			t.Errorf("event %d is %+v, want %q", i, e, messages[i])
		}
	}
	checkIDs(t, s)
}

// A minute in Munich, NMEA 0183, as GPS receivers have sent it since 1983.
func nmea() string {
	var log strings.Builder
	sentence := func(text string) {
		var checksum byte
		for i := range len(text) {
			checksum ^= text[i]
		}
		fmt.Fprintf(&log, "$%s*%02X\r\n", text, checksum)
	}
	for second := range 60 {
		sentence(fmt.Sprintf("GPGGA,1235%02d,4807.038,N,01131.000,E,1,08,0.9,545.4,M,46.9,M,,", second))
		sentence("GPGSA,A,3,04,05,,09,12,,,24,,,,,2.5,1.3,2.1")
		sentence(fmt.Sprintf("GPRMC,1235%02d,A,4807.038,N,01131.000,E,022.4,084.4,231126,003.1,W", second))
	}
	return log.String()
}

func TestGPSReportsBecomeEventsNamedAfterTheirClass(t *testing.T) {
	address := freeAddress(t)
	program(t, "gpsd")
	gpsd := start(t, "gpsfake", "-q", "-c", "0.1", "-P", portOf(address), write(t, "munich.nmea", nmea()))
	gpsd.waitListening(t, address)
	s := open(t, serve(t, "gpsd", "GPSD="+address))

	for _, class := range []string{"VERSION", "DEVICES", "WATCH"} {
		await(t, s, "the event "+class, func(e ssetest.Event) bool { return e.Type == class })
	}
	var position struct{ Lat, Lon float64 }
	await(t, s, "a position", func(e ssetest.Event) bool {
		return e.Type == "TPV" && json.Unmarshal([]byte(e.Data), &position) == nil && position.Lat != 0
	})
	if got := fmt.Sprintf("%.4f %.4f", position.Lat, position.Lon); got != "48.1173 11.5167" {
		t.Errorf("position is %s, want 48.1173 11.5167", got)
	}
	for _, e := range s.Events() {
		var report struct{ Class string }
		if err := json.Unmarshal([]byte(e.Data), &report); err != nil || report.Class != e.Type || strings.Contains(e.Data, "\r") {
			t.Errorf("event %+v is not a report of its type: %v", e, err)
		}
	}
	checkIDs(t, s)
}

// startDump1090 starts one without a receiver. It takes messages at raw and serves what they mean at sbs.
func startDump1090(t *testing.T) (raw, sbs string) {
	t.Helper()
	raw, sbs = freeAddress(t), freeAddress(t)
	dump1090 := start(t, "dump1090-mutability", "--net-only", "--quiet", "--net-bind-address", "127.0.0.1",
		"--net-ri-port", portOf(raw), "--net-sbs-port", portOf(sbs), "--net-heartbeat", "1",
		"--net-ro-port", "0", "--net-bi-port", "0", "--net-bo-port", "0")
	dump1090.waitListening(t, sbs)
	dump1090.waitListening(t, raw)
	return raw, sbs
}

// aircraft are the messages of two planes: one says who it is, the other where, which takes two messages. They come twice, as an
// address that is heard just once may be noise.
var aircraft = strings.Repeat("*8D4840D6202CC371C32CE0576098;\n*8D40621D58C386435CC412692AD6;\n*8D40621D58C382D690C8AC2863A7;\n", 2)

func TestAircraftBecomeEventsAndHeartbeatsComments(t *testing.T) {
	raw, sbs := startDump1090(t)
	s := open(t, serve(t, "dump1090", "DUMP1090="+sbs))
	s.WaitComments(3) // the opening one, and empty lines
	if events := s.Events(); len(events) > 0 {
		t.Errorf("empty lines became events: %+v", events)
	}

	send(t, "tcp", raw, aircraft)
	type message struct{ Kind, Type, Hex, Callsign, Altitude, Lat, Lon string }
	decode := func(e ssetest.Event) (m message) {
		if err := json.Unmarshal([]byte(e.Data), &m); err != nil || m.Kind != "MSG" || e.Type != "msg-"+m.Type {
			t.Errorf("event %+v is not a BaseStation message: %v", e, err)
		}
		return m
	}
	who := decode(await(t, s, "who it is", func(e ssetest.Event) bool { return e.Type == "msg-1" }))
	if strings.TrimSpace(who.Callsign) != "KLM1023" || who.Hex != "4840D6" {
		t.Errorf("it is %+v", who)
	}
	where := decode(await(t, s, "where it is", saying(`"lat":"52.2`)))
	if where.Type != "3" || where.Hex != "40621D" || where.Altitude != "38000" || !strings.HasPrefix(where.Lon, "3.9") {
		t.Errorf("%+v is not the position of a plane over the North Sea", where)
	}
	checkIDs(t, s)
}
