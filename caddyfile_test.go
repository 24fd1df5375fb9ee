package sse_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	sse "github.com/seed-4dedbcea/caddy-sse"

	_ "github.com/caddyserver/caddy/v2/modules/standard"
)

var update = flag.Bool("update", false, "write what the adapter gives into testdata/adapt/*.caddytest")

// separator stands between the Caddyfile and the JSON of a golden file.
const separator = "\n----------\n"

func adapt(t *testing.T, text string) ([]byte, error) {
	t.Helper()
	adapted, warnings, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(text), map[string]any{"filename": "Caddyfile"})
	for _, w := range warnings {
		if !strings.Contains(w.Message, "not formatted") {
			t.Errorf("warning: %v", w)
		}
	}
	return adapted, err
}

func TestEveryOptionAdaptsToItsJSON(t *testing.T) {
	files, err := filepath.Glob("testdata/adapt/*.caddytest")
	if err != nil || len(files) == 0 {
		t.Fatalf("no golden files: %v", err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			content, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			text, want, _ := strings.Cut(string(content), separator)
			adapted, err := adapt(t, text)
			if err != nil {
				t.Fatal(err)
			}
			var pretty bytes.Buffer
			if err := json.Indent(&pretty, adapted, "", "\t"); err != nil {
				t.Fatal(err)
			}
			if *update {
				if err := os.WriteFile(file, []byte(text+separator+pretty.String()+"\n"), 0o644); err != nil {
					t.Fatal(err)
				}
			} else if got := pretty.String(); strings.TrimSpace(got) != strings.TrimSpace(want) {
				t.Errorf("adapted to\n%s\nwant\n%s", got, want)
			}
			validate(t, adapted)
		})
	}
}

// validate provisions a config as `caddy validate` does.
func validate(t *testing.T, config []byte) {
	t.Helper()
	var cfg caddy.Config
	if err := caddy.StrictUnmarshalJSON(config, &cfg); err != nil {
		t.Fatal(err)
	}
	if err := caddy.Validate(&cfg); err != nil {
		t.Error(err)
	}
}

func TestEveryMistakeInTheConfigIsToldWithItsPlace(t *testing.T) {
	for _, test := range []struct{ block, want string }{
		{"nonsense", `unrecognized subdirective "nonsense"`},
		{"format", "argument"},
		{"format lines ndjson", "argument"},
		{"format csv", "format must be one of auto, lines"},
		{"format lines\nformat json", "format is given twice"},
		{"charset klingon", "charset"},
		{`charset ""`, "charset"},
		{"format event_stream\ncharset latin1", "an event stream is always utf-8"},
		{"charset latin1\nformat event_stream", "an event stream is always utf-8"},
		{"max_record_size", "argument"},
		{"max_record_size huge", "max_record_size must be a size"},
		{"max_record_size 0", "max_record_size must be a size"},
		{"max_record_size 2TiB", "max_record_size must be a size"},
		{"max_record_size 1KiB drop", "max_record_size"},
		{`max_record_size 1KiB ""`, "argument"},
		{"max_record_size 1KiB skip skip", "argument"},
		{"data", "argument"},
		{"data a b", "argument"},
		{"data {record.a", "{record.a"},
		{"event {record.}", "{record.}"},
		{"id {record.a..b}", "{record.a..b}"},
		{"parse", "argument"},
		{"parse json", `parse must be one of csv, regexp, logfmt, syslog, not "json"`},
		{"parse csv", "argument"},
		{"parse csv - -", "parse: csv: name at least one column"},
		{"parse csv a b a", `parse: csv: column "a" is given twice`},
		{`parse csv a ""`, "parse: csv: a field must have a name"},
		{"parse regexp", "argument"},
		{"parse regexp (?P<a>.) (?P<b>.)", "argument"},
		{"parse regexp (?P<a>.", "missing closing )"},
		{"parse regexp .*", "the pattern has no named group"},
		{"parse logfmt strict", "argument"},
		{"parse syslog rfc5424", "argument"},
		{"parse logfmt\nparse syslog", "parse is given twice"},
		{"parse logfmt\nformat ndjson", "parse is for lines of text"},
		{"format event_stream\nparse syslog", "parse is for lines of text"},
		{"format json_seq\nparse csv a", "parse is for lines of text"},
		{"format json\nparse csv a", "parse is for lines of text"},
		{"data {record.a|xml}", `data: template "{record.a|xml}": a value has no escape "xml": write |json, |html or |url`},
		{"event {line|json", "write a } after |json"},
		{"where {line} == 1", "{line} is for templates"},
		{"where", "argument"},
		{"where record.a = 1", `where: expression "record.a = 1": line 1, column 10: a single = does not compare: write ==`},
		{"backend tcp localhost:1", `there is no backend "tcp": choose one of dial, exec, file, http, listen, stdin`},
		{"name", "argument"},
		{`name ""`, "name"},
		{"name {host}", "name: must be plain text"},
		{"where record.", "where"},
		{"where seq", "where"},
		{`where "1 + 1"`, "where"},
		{"on_invalid drop", "on_invalid must be one of pass, skip, error"},
		{"accept maybe", "accept must be one of"},
		{"accept standard 200", "the status of accept"},
		{"accept standard 406 406", "argument"},
		{"retry", "argument"},
		{"retry soon", "retry must be a duration"},
		{"retry 999us", "retry must be at least 1ms"},
		{"heartbeat 1ns", "heartbeat must be at least 1ms"},
		{"stall_timeout 1us", "stall_timeout must be at least 1ms"},
		{"max_duration 1ns", "max_duration must be at least 1ms"},
		{"max_duration 1h 1ns", "max_duration must be at least 1ms"},
		{"drain 1ns", "drain must be at least 1ms"},
		{"share {\nlinger 1ns\n}", "linger must be at least 1ms"},
		{"match {\nstatus 999\n}", "no response has status 999"},
		{"match {\nstatus 99\n}", "no response has status 99"},
		{"retry 0", "retry must be a duration"},
		{"retry -1s", "retry must be a duration"},
		{"heartbeat never", "heartbeat must be a duration"},
		{"stall_timeout 0s", "stall_timeout must be a duration"},
		{"heartbeat 1s sse-gap", "sse-gap"},
		{"heartbeat 1s \"a\nb\"", "heartbeat"},
		{"heartbeat 1s done\nend done", "choose another type"},
		{"error oops\nheartbeat 1s oops", "choose another type"},
		{"heartbeat off alive", "heartbeat must be a duration"},
		{"heartbeat 1s a b", "argument"},
		{"open_after", "argument"},
		{"open_after 0", "open_after must be a duration"},
		{"open_after 1ns", "open_after must be at least 1ms"},
		{"open_after 1s 2s", "argument"},
		{`heartbeat 1s ""`, "argument"},
		{"upstream_timeout off", "upstream_timeout must be a duration"},
		{"upstream_timeout 1m\nbackend stdin", "upstream_timeout is for upstreams that are asked"},
		{"backend listen :1\nupstream_timeout 1m", "upstream_timeout is for upstreams that are asked"},
		{"upstream_timeout 1ns", "upstream_timeout must be at least 1ms"},
		{"expires", "argument"},
		{"expires {http.auth.user.exp", "not closed"},
		{"expires {record.until}", "before it has a record"},
		{"expires tomorrow", `expires: the time must be RFC 3339 or Unix seconds, not "tomorrow"`},
		{"expires {query.exp} {query.until}", "argument"},
		{"accept negotiate\nexpires {http.auth.user.exp}", "neither expires nor recheck"},
		{"recheck 1m {\nrespond 401\n}\naccept negotiate", "neither expires nor recheck"},
		{"recheck", "argument"},
		{"recheck often {\nrespond 401\n}", "recheck must be a duration"},
		{"recheck 1ns {\nrespond 401\n}", "recheck must be at least 1ms"},
		{"recheck 1m", "recheck must have directives"},
		{"recheck 1m {\n}", "recheck must have directives"},
		{"recheck 1m {\nnonsense\n}", "unrecognized directive"},
		{"recheck 1m 2m {\nrespond 401\n}", "argument"},
		{"max_duration off", "max_duration must be a duration"},
		{"max_duration 1m 2m", "jitter"},
		{"max_duration 1m 1s 1s", "argument"},
		{"compress br", `compress must be one of zstd, gzip, not "br"`},
		{"compress gzip gzip", "compress gives gzip twice"},
		{"compress off", `compress must be one of zstd, gzip, not "off"`},
		{"compress\ncompress gzip", "compress is given twice"},
		{"end", "argument"},
		{"end stop data stop extra", "argument"},
		{"end sse-gap", "end: events of the type sse-gap"},
		{"end sse-error bye stop", "end: events of the type sse-error"},
		{"end \"a\nb\"", "end"},
		{"end_when", "argument"},
		{"end_when record.", "end_when"},
		{"error_when", "argument"},
		{"error_when record.a = 1", "error_when"},
		{"end_when record.user == {http.auth.user.id}\nshare", "must not depend on the request"},
		{"share\nerror_when record.user == {query.user}", "must not depend on the request"},
		{"error", "argument"},
		{"error a b c", "argument"},
		{"error \"a\nb\"", "error"},
		{"error sse-gap", "sse-gap"},
		{"drain later", "drain must be a duration"},
		{"drain 1s sometimes", "drain must be spread or wait"},
		{"drain 1s wait wait", "argument"},
		{"on_unavailable", "argument"},
		{"on_unavailable status retry", "argument"},
		{"on_unavailable never", "on_unavailable must be one of status, retry"},
		{"on_reload", "argument"},
		{"on_reload restart", "on_reload must be one of end, keep"},
		{"match", "match must say"},
		{"match {\nstatus 200\n}\nbackend stdin", "match is for responses of the next handler"},
		{"backend stdin\nmatch {\nstatus 200\n}", "match is for responses of the next handler"},
		{"viewer on", "argument"},
		{"share a b", "argument"},
		{"share {\nreplay some\n}", "replay"},
		{"share {\nreplay -1\n}", "replay"},
		{"share {\nlive\n}", "argument"},
		{"share {\nlive a b c\n}", "argument"},
		{"share {\nlive sse-gap\n}", "sse-gap"},
		{"share {\nlive \"a\nb\"\n}", "live"},
		{"share {\nreplay all 3\n}", "argument"},
		{"share {\nlive over\n}\nend over", "live: events of the type over"},
		{"share {\nlive alive\n}\nheartbeat 1s alive", "live: events of the type alive"},
		{"error oops\nshare {\nlive oops\n}", "live: events of the type oops"},
		{"share {path} {\nopen\n}", "argument"},
		{"share {path} {\nopen post\n}", "no method"},
		{"share {path} {\nopen POST OPTIONS\n}", "OPTIONS"},
		{"share {path} {\nstop HEAD\n}", "HEAD"},
		{"share {path} {\nstop GET\n}", "choose another method"},
		{"share {path} {\nopen POST\nstop POST\n}", "choose another method"},
		{"share {\nopen POST\n}", "need a backend, or a key"},
		{"share {\nstop DELETE\n}", "need a backend, or a key"},
		{"accept negotiate\nshare {path} {\nopen POST\n}", "negotiate"},
		{`share ""`, "argument"},
		{"share {record.room}", "before it has a record"},
		{"share {record", "not closed"},
		{"share {\nhistory 0\n}", "history must be a whole number"},
		{"share {\nhistory 1 0B\n}", "the size of history"},
		{"share {\nreplay -1\n}", "replay must be a whole number"},
		{"share {\nlinger x\n}", "linger must be a duration"},
		{"share {\nlag wait\n}", "lag must be one of disconnect, skip"},
		{"share {\nlag skip\nlag skip\n}", "lag is given twice"},
		{"share {\nother\n}", `unrecognized subdirective "other" of share`},
		{"share {\nkeep x\n}", "keep must be a duration"},
		{"share {\nkeep\n}", "argument"},
		{"share {\nkeep 1ns\n}", "keep must be at least 1ms"},
		{"share {path} {\nstop\n}", "argument"},
		{"share {path} {\nstop PUT DELETE\n}", "argument"},
		{"share {path} {\nopen POST\n}\nbackend stdin", "always open"},
		{"share a{path", "placeholder {path is not closed"},
		{"share {path{host}", "placeholder {path is not closed"},
		{"max_sources 0", "max_sources must be a whole number"},
		{"max_sources 1 2", "argument"},
		{"max_streams_per_client 2 {header.X-User", "placeholder {header.X-User is not closed"},
		{"max_streams 0", "max_streams must be a whole number"},
		{"max_streams many", "max_streams must be a whole number"},
		{"max_streams_per_client -2", "max_streams_per_client must be a whole number"},
		{"max_streams_per_client 2 a b", "argument"},
		{"max_streams_per_client 2 {record.user}", "before it has a record"},
		{"backend", "argument"},
		{"backend nosuch", "nosuch"},
		{"backend file", "argument"},
		{"backend file a b", "argument"},
		{"backend file /a {\nfrom middle\n}", "from must be start, end or last"},
		{"backend file /a {\nfrom last\n}", "from last must be a whole number"},
		{"backend file /a {\nfrom last 0\n}", "from last must be a whole number"},
		{"backend file /a {\nfrom start 3\n}", "argument"},
		{"backend file /a {\nto end\n}", `unrecognized subdirective "to"`},
		{"backend file {path}", "must begin with a folder"},
		{"backend file log-{path}", "must begin with a folder"},
		{"backend file /a/{record.x}", "record"},
	} {
		t.Run(test.block, func(t *testing.T) {
			text := "example.com {\n\tsse {\n" + test.block + "\n}\n}\n"
			_, err := adapt(t, text)
			if err == nil {
				t.Fatal("no error")
			}
			if !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %q does not say %q", err, test.want)
			}
			if !strings.Contains(err.Error(), "Caddyfile:") {
				t.Errorf("error %q names no file and line", err)
			}
		})
	}
}

func TestSSEWrapsOtherHandlersWithoutAnOrderOption(t *testing.T) {
	adapted, err := adapt(t, ":80 {\n\treverse_proxy localhost:1\n\tsse\n\tencode gzip\n\theader X-A b\n}\n")
	if err != nil {
		t.Fatal(err)
	}
	last := -1
	for _, handler := range []string{`"headers"`, `"encode"`, `"sse"`, `"reverse_proxy"`} {
		at := bytes.Index(adapted, []byte(`"handler":`+handler))
		if at < last {
			t.Errorf("%s is out of order in %s", handler, adapted)
		}
		last = at
	}
}

func TestDirectiveTakesAMatcherAndNoOtherArgument(t *testing.T) {
	dispenser := caddyfile.NewTestDispenser("sse /events")
	if err := new(sse.Handler).UnmarshalCaddyfile(dispenser); err == nil {
		t.Error("an argument that is no matcher was taken")
	}
	if _, err := adapt(t, ":80 {\n\tsse /events\n\tsse @get {\n\t\tviewer\n\t}\n\t@get method GET\n}\n"); err != nil {
		t.Error(err)
	}
}

// TestAWrongValueInJSONIsRefusedWhenTheConfigLoads is for those who write no Caddyfile.
func TestAWrongValueInJSONIsRefusedWhenTheConfigLoads(t *testing.T) {
	for _, test := range []struct{ options, want string }{
		{`"nonsense": 1`, "nonsense"},
		{`"format": "csv"`, "format"},
		{`"format": 1`, "format"},
		{`"charset": "klingon"`, "charset"},
		{`"max_record_size": -1`, "max_record_size"},
		{`"max_record_size": 2147483648`, "max_record_size"},
		{`"max_record_size": "1MiB"`, "max_record_size"},
		{`"oversize": "drop"`, "max_record_size"},
		{`"data": "{record.a"`, "data"},
		{`"event": "{record.}"`, "event"},
		{`"id": "{record.a..b}"`, "id"},
		{`"where": "record."`, "where"},
		{`"where": "1 + 1"`, "where"},
		{`"on_invalid": "drop"`, "on_invalid"},
		{`"accept": "maybe"`, "accept"},
		{`"accept_status": 200`, "accept_status"},
		{`"retry": "soon"`, "duration"},
		{`"retry": -1`, "retry"},
		{`"max_duration": -1`, "max_duration"},
		{`"max_duration": "1m", "max_duration_jitter": "2m"`, "max_duration_jitter"},
		{`"end_when": "record."`, "end_when"},
		{`"error_when": "record."`, "error_when"},
		{`"end_when": "record.a == {query.a}", "share": {}`, "must not depend on the request"},
		{`"error": {"event": "a\nb"}`, "error"},
		{`"error": {"event": "sse-gap"}`, "sse-gap"},
		{`"compress": ["br"]`, `compress must be one of zstd, gzip, not "br"`},
		{`"compress": ["gzip", "zstd", "gzip"]`, "compress gives gzip twice"},
		{`"compress": true`, "compress"},
		{`"end": {"event": "a\nb"}`, "end"},
		{`"end": {"event": "sse-error"}`, "sse-error"},
		{`"end": {"event": "over"}, "share": {"live": {"event": "over"}}`, "over"},
		{`"on_unavailable": "never"`, "on_unavailable"},
		{`"on_reload": "restart"`, "on_reload"},
		{`"drain_mode": "sometimes"`, "drain_mode"},
		{`"open_after": 1`, "open_after must be at least 1ms"},
		{`"share": {"keep": 1}`, "keep must be at least 1ms"},
		{`"share": {"replay": -2}`, "replay"},
		{`"name": "{http.request.host}"`, "name"},
		{`"share": {"history": -1}`, "history"},
		{`"share": {"history_size": -1}`, "history_size"},
		{`"share": {"history_size": 2147483648}`, "history_size"},
		{`"share": {"live": {"event": "a\nb"}}`, "live"},
		{`"share": {"key": "a", "open": ["HEAD"]}`, "HEAD"},
		{`"share": {"open": ["POST"]}`, "need a backend, or a key"},
		{`"share": {"key": "a", "stop": "get"}`, "no method"},
		{`"share": {"open": ["POST"]}, "backend": {"name": "stdin"}`, "always open"},
		{`"share": {"lag": "wait"}`, "lag"},
		{`"share": {"key": "{record.room}"}`, "share"},
		{`"share": {"nonsense": 1}`, "nonsense"},
		{`"heartbeat_event": "a\rb"`, "heartbeat"},
		{`"heartbeat_event": "sse-error"`, "sse-error"},
		{`"expires": "tomorrow"`, "expires"},
		{`"expires": "{http.auth.user.exp"`, "not closed"},
		{`"recheck": {}`, "recheck must have"},
		{`"accept": "negotiate", "expires": "{http.auth.user.exp}"`, "neither expires nor recheck"},
		{`"recheck": {"interval": "1m"}`, "recheck must have"},
		{`"recheck": {"interval": 1, "routes": [{"handle": [{"handler": "static_response"}]}]}`, "recheck must be at least 1ms"},
		{`"recheck": {"interval": "1m", "routes": [{"handle": [{"handler": "nonsense"}]}]}`, "recheck"},
		{`"heartbeat_event": "done", "end": {"event": "done"}`, "choose another type"},
		{`"open_after": -1`, "open_after"},
		{`"upstream_timeout": -1`, "upstream_timeout"},
		{`"upstream_timeout": 1`, "upstream_timeout must be at least 1ms"},
		{`"upstream_timeout": "1m", "backend": {"name": "stdin"}`, "upstream_timeout is for"},
		{`"heartbeat": 1`, "heartbeat must be at least 1ms"},
		{`"retry": 1000`, "retry must be at least 1ms"},
		{`"share": {"linger": 1}`, "linger must be at least 1ms"},
		{`"match": {"status_code": [999]}`, "no response has status 999"},
		{`"match": {"status_code": [6]}`, "no response has status 6"},
		{`"parse": {}`, "syntax must be one of csv, regexp, logfmt, syslog"},
		{`"parse": {"syntax": "csv"}`, "name at least one column"},
		{`"parse": {"syntax": "logfmt", "pattern": "(?P<a>.)"}`, "a pattern is for regexp"},
		{`"parse": {"syntax": "logfmt"}, "format": "ndjson"`, "parse is for lines of text"},
		{`"data": "{record.a|xml}"`, "no escape"},
		{`"format": "event_stream", "charset": "latin1"`, "an event stream is always utf-8"},
		{`"max_streams": -1`, "max_streams"},
		{`"max_streams_per_client": -1`, "max_streams_per_client"},
		{`"max_streams_key": "{record.user}"`, "max_streams_key"},
		{`"max_streams_key": "{http.request.host"`, "max_streams_key"},
		{`"share": {"key": "{http.request.host"}`, "share"},
		{`"max_sources": -1`, "max_sources"},
		{`"backend": {}`, "backend"},
		{`"backend": {"name": "nosuch"}`, "nosuch"},
		{`"backend": {"name": "stdin", "nonsense": 1}`, "nonsense"},
		{`"backend": {"name": "stdin"}, "match": {"status_code": [200]}`, "match"},
	} {
		t.Run(test.options, func(t *testing.T) {
			text := `{"apps": {"http": {"servers": {"s": {"listen": [":80"], "routes": [{"handle": [{"handler": "sse", ` + test.options + `}]}]}}}}}`
			var cfg caddy.Config
			if err := caddy.StrictUnmarshalJSON([]byte(text), &cfg); err != nil {
				t.Fatal(err)
			}
			err := caddy.Validate(&cfg)
			if err == nil {
				t.Fatal("no error")
			}
			if !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %q does not say %q", err, test.want)
			}
		})
	}
}

func TestOptionsThatABackendMakesPossibleAreTaken(t *testing.T) {
	for _, options := range []string{
		"share {\nopen POST\nstop DELETE\n}",
		"accept negotiate\nexpires {query.exp}",
		"accept negotiate\nrecheck 1m {\nrespond 401\n}",
		"end \"\"\nerror \"\"\nshare {\nlive \"\"\n}",
	} {
		adapted, err := adapt(t, "example.com {\nsse {\nbackend http http://127.0.0.1:1\n"+options+"\n}\n}\n")
		if err != nil {
			t.Errorf("%s: %v", options, err)
			continue
		}
		validate(t, adapted)
	}
}
