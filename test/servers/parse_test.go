//go:build integration

package servers_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/seed-4dedbcea/caddy-sse/internal/ssetest"
)

// The recipes themselves, with the services behind them, are run in the files of their backends. Here are the parts that no
// recipe has: ids and conditions that come from the fields.

func TestAircraftsMessagesHaveTheirTypeTimeAndPlaceFromTheirColumns(t *testing.T) {
	raw, sbs := startDump1090(t)
	s := open(t, serveOptions(t, "backend dial "+sbs+`
		parse csv kind type - - hex - date time - - callsign altitude - - lat lon - - - - - -
		event {record.hex}
		id "{record.date}T{record.time}Z {record.type}"
		data "{record.altitude} {record.lat} {record.lon}"
		where "record.kind == 'MSG' && record.lat != ''"`))
	s.WaitComments(2) // it is connected
	send(t, "tcp", raw, aircraft)
	for _, e := range s.WaitEvents(1) {
		if e.Type != "40621D" || !strings.HasPrefix(e.Data, "38000 52.2") || !regexp.MustCompile(`^20\d\d/\d\d/\d\dT\d\d:\d\d:\d\d\.\d{3}Z 3$`).MatchString(e.ID) {
			t.Errorf("event %+v is not the position of a plane", e)
		}
	}
}

func TestVisitsInNginxsLogHaveTheirTypeAndIDFromTheirFields(t *testing.T) {
	address, dir := freeAddress(t), t.TempDir()
	startLoggingNginx(t, dir, address, "")
	_, own, found := strings.Cut(readExample(t, "nginx-log/Caddyfile"), "parse regexp ")
	pattern, _, ended := strings.Cut(own, "\n")
	if !found || !ended {
		t.Fatal("the example does not parse the log any more")
	}
	s := open(t, serveOptions(t, fmt.Sprintf(`
		backend file %s/access.log {
			from start
		}
		parse regexp %s
		event {record.user}
		id "{record.status} {record.request|url}"
		data {record.agent}
		where "record.user != '-' && int(record.status) < 400"`, dir, pattern)))
	visit := func(path, user string) {
		r := request(t, "http://"+address+path, "*/*", "")
		r.Header.Set("User-Agent", "a [b] c")
		if user != "" {
			r.SetBasicAuth(user, "secret")
		}
		do(t, r)
	}
	visit("/there?1", "")
	visit("/missing", "alice")
	visit("/there?2", "alice")
	visit("/there?3", "bob")
	want := []ssetest.Event{
		{Type: "alice", ID: "200 GET%20%2Fthere%3F2%20HTTP%2F1.1", HasID: true, Data: "a [b] c"},
		{Type: "bob", ID: "200 GET%20%2Fthere%3F3%20HTTP%2F1.1", HasID: true, Data: "a [b] c"},
	}
	for i, e := range s.WaitEvents(len(want)) {
		if e != want[i] {
			t.Errorf("event is %+v, want %+v", e, want[i])
		}
	}
}

func TestSyslogMessagesOfBothRFCsHaveTheirTypeAndIDFromTheirFields(t *testing.T) {
	for rfc, c := range map[string]struct{ flag, template string }{
		"5424": {"--rfc5424", "RSYSLOG_SyslogProtocol23Format"},
		"3164": {"--rfc3164", "RSYSLOG_TraditionalForwardFormat"},
	} {
		t.Run(rfc, func(t *testing.T) {
			address, rsyslogd := freeAddress(t), freeAddress(t)
			s := open(t, serveOptions(t, "backend listen udp/"+address+`
				parse syslog
				on_invalid skip
				event {record.appname}
				id "{record.facility}.{record.severity} {record.procid}"
				data {record.message}
				where "record.severity < 5 && record.hostname != ''"`))
			sendUntilHeard(t, s, address, "<12>1 - h - - - - ready")
			startRsyslogd(t, rsyslogd, fmt.Sprintf(
				`*.* action(type="omfwd" target="127.0.0.1" port="%s" protocol="udp" template="%s")`, portOf(address), c.template))
			for i, way := range [][]string{{"-d", address}, {"-T", rsyslogd}} {
				logger := func(priority, text string) {
					run(t, "logger", "-n", "127.0.0.1", "-P", portOf(way[1]), way[0], c.flag, "-p", priority, "-t", "app", fmt.Sprintf("--id=%d", 4711+i), text)
				}
				text := fmt.Sprintf("warning %d", i)
				logger("local3.notice", "a notice")
				logger("local3.warning", text)
				e := await(t, s, text, saying(text))
				if want := fmt.Sprintf("19.4 %d", 4711+i); e.Type != "app" || strings.TrimSpace(e.Data) != text || e.ID != want {
					t.Errorf("event is %+v, want the id %q", e, want)
				}
			}
			for _, text := range data(s) {
				if strings.Contains(text, "notice") {
					t.Errorf("where lets %s pass", text)
				}
			}
		})
	}
}

func TestKeysAndValuesInNginxsLogBecomeEvents(t *testing.T) {
	address, dir := freeAddress(t), t.TempDir()
	startLoggingNginx(t, dir, address, `escape=json 'id=$request_id status=$status bytes=$body_bytes_sent uri="$request_uri" agent="$http_user_agent"'`)
	s := open(t, serveOptions(t, fmt.Sprintf(`
		backend file %s/access.log {
			from start
		}
		parse logfmt
		on_invalid skip
		event status-{record.status}
		id {record.id}
		where int(record.status) >= 400`, dir)))
	const agent = `a "bad" \agent\ = status=200 Zürich`
	for _, path := range []string{"/there", "/missing?a=b&c=%22", "/there", "/gone"} {
		r := request(t, "http://"+address+path, "*/*", "")
		r.Header.Set("User-Agent", agent)
		do(t, r)
	}
	for i, e := range s.WaitEvents(2) {
		var entry struct{ ID, Status, Bytes, URI, Agent string }
		if err := json.Unmarshal([]byte(e.Data), &entry); err != nil || e.Type != "status-404" || entry.Status != "404" || entry.Bytes == "" {
			t.Errorf("event is %+v: %v", e, err)
		}
		if want := []string{"/missing?a=b&c=%22", "/gone"}[i]; entry.URI != want || entry.Agent != agent {
			t.Errorf("the entry is %+v, want one of %s", entry, want)
		}
		if !regexp.MustCompile(`^[0-9a-f]{32}$`).MatchString(e.ID) || e.ID != entry.ID {
			t.Errorf("the id of %+v is not that of its request", e)
		}
	}
	checkIDs(t, s)
}

func TestTheLogOfPrometheusBecomesEventsNamedAfterTheirLevel(t *testing.T) {
	address := freeAddress(t)
	config := write(t, "prometheus.yml", "")
	s := open(t, serveOptions(t, fmt.Sprintf(`
		backend exec %s --config.file %s --storage.tsdb.path %s --web.listen-address %s --web.enable-lifecycle {
			stderr records
		}
		parse logfmt
		event {record.level}
		id {record.ts}
		where "record.level != 'info' || has(record.address)"`, program(t, "prometheus"), config, t.TempDir(), address)))
	type line struct{ TS, Caller, Level, Msg, Address, Err string }
	read := func(e ssetest.Event) (l line) {
		if err := json.Unmarshal([]byte(e.Data), &l); err != nil || l.Level != e.Type || l.TS != e.ID || e.ID == "" || l.Caller == "" {
			t.Errorf("event %+v is not a line of its level and time: %v", e, err)
		}
		return l
	}
	listening := read(await(t, s, "what it listens on", saying(`"address":"`+address)))
	if listening.Level != "info" || !strings.HasPrefix(listening.Msg, "Start listening") && listening.Msg != "Listening on" {
		t.Errorf("the line is %+v", listening)
	}

	// It listens before it reads its config, and ends if that first one is wrong.
	ssetest.Wait(t, "prometheus to be ready", func() bool {
		response, err := http.Get("http://" + address + "/-/ready")
		if err != nil {
			return false
		}
		response.Body.Close()
		return response.StatusCode == http.StatusOK
	})
	if err := os.WriteFile(config, []byte(`"no": "settings"`), 0o644); err != nil {
		t.Fatal(err)
	}
	ssetest.Wait(t, "prometheus to refuse its new config", func() bool {
		response, err := http.Post("http://"+address+"/-/reload", "", nil)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		return response.StatusCode == http.StatusInternalServerError
	})
	refused := read(await(t, s, "why", func(e ssetest.Event) bool { return e.Type == "error" }))
	if !strings.Contains(refused.Err, fmt.Sprintf("--config.file=%q", config)) {
		t.Errorf("the line is %+v, want one with the quoted name of the file", refused)
	}
	for _, e := range s.Events() {
		if l := read(e); l.Level == "info" && l.Address == "" {
			t.Errorf("where lets %+v pass", e)
		}
	}
}

// gpsd passes on what its receivers say, of ships and of satellites.
func TestSentencesOfAReceiverBecomeEventsNamedAfterTheirType(t *testing.T) {
	address := freeAddress(t)
	ships, err := filepath.Abs("../../examples/ais/transcript.nmea")
	if err != nil {
		t.Fatal(err)
	}
	sentences, err := os.ReadFile(ships)
	if err != nil {
		t.Fatal(err)
	}
	_, own, found := strings.Cut(readExample(t, "ais/Caddyfile"), "parse regexp ")
	pattern, _, ended := strings.Cut(own, "\n")
	if !found || !ended {
		t.Fatal("the example does not parse sentences any more")
	}
	program(t, "gpsd")
	log := write(t, "harbour.nmea", string(sentences)+nmea())
	start(t, "gpsfake", "-q", "-c", "0.02", "-P", portOf(address), log).waitListening(t, address)
	options := "backend dial " + address + " {\nsend `?WATCH={\"enable\":true,\"raw\":1}\\n`\n}\non_invalid skip\n"
	ais := open(t, serveOptions(t, options+"parse regexp "+pattern+`
		event {record.type}
		id {record.checksum}
		data "{record.message}/{record.number} {record.payload}"
		where record.channel == 'B'`))
	position := open(t, serveOptions(t, options+"parse csv kind time lat north lon east fix satellites hdop altitude - - - - -"+`
		event {record.kind}
		id {record.time}
		data "{record.lat} {record.north}, {record.lon} {record.east}"
		where record.kind.endsWith('GGA') && record.fix != '0'`))

	// A message of two sentences, as the receiver heard it on channel B.
	var want []ssetest.Event
	for _, sentence := range strings.Fields(string(sentences)) {
		if fields := strings.Split(sentence, ","); fields[4] == "B" {
			want = append(want, ssetest.Event{Type: "VDM", ID: sentence[len(sentence)-2:], Data: fields[3] + "/" + fields[2] + " " + fields[5]})
		}
	}
	for _, w := range want {
		e := await(t, ais, w.Data, saying(w.Data))
		if e.Type != w.Type || e.ID != w.ID {
			t.Errorf("event is %+v, want %+v", e, w)
		}
	}
	if len(want) != 2 {
		t.Errorf("the recording has %d sentences of channel B, want 2", len(want))
	}
	for _, e := range position.WaitEvents(5) {
		if e.Type != "$GPGGA" || !regexp.MustCompile(`^1235\d\d$`).MatchString(e.ID) || e.Data != "4807.038 N, 01131.000 E" {
			t.Errorf("event %+v is not a position", e)
		}
	}
	for _, e := range ais.Events() {
		if e.Type != "VDM" || e.Data != want[0].Data && e.Data != want[1].Data {
			t.Errorf("event %+v is not a sentence of channel B", e)
		}
	}
}
