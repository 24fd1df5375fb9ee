package sse_test

import (
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/seed-4dedbcea/caddy-sse/internal/ssetest"
)

var recipes = map[string]recipe{
	"A language model (Ollama)": {
		path: "/api/chat", method: http.MethodPost, body: `{"model":"m"}`,
		header: map[string]string{"Content-Type": "application/json", "Origin": "https://example.com"},
		with: instead("localhost:11434", "/api/chat", ndjson, `{"done":false}`+"\n",
			map[string]string{"Authorization": "", "Origin": ""}),
		events:  []string{`message {"done":false}`},
		reached: []string{`POST /api/chat {"model":"m"}`},
	},
	"A language model for OpenAI's clients": {
		path: "/api/chat", method: http.MethodPost, body: `{"model":"m"}`,
		header: map[string]string{"Content-Type": "application/json", "Origin": "https://example.com"},
		with: instead("localhost:11434", "/api/chat", ndjson, `{"done":true}`+"\n"+`{"after":"the end"}`+"\n",
			map[string]string{"Authorization": "", "Origin": ""}),
		events:  []string{`message {"done":true}`, `message [DONE]`},
		reached: []string{`POST /api/chat {"model":"m"}`},
	},
	"Answers that outlive the page": {
		path: "/answers/1", method: http.MethodPost, body: `{"model":"m"}`,
		header: map[string]string{"Content-Type": "application/json", "Origin": "https://example.com"},
		with: instead("localhost:11434", "/api/chat", ndjson, `{"done":true}`+"\n",
			map[string]string{"Authorization": "", "Origin": ""}),
		events:  []string{`message {"done":true}`, `message [DONE]`},
		reached: []string{`POST /api/chat {"model":"m"}`},
	},
	"Kubernetes watch": {
		path: "/pods",
		with: func(t *testing.T, config string) (string, *standIn) {
			handler, u := answers("/api/v1/pods?watch=1", "application/json",
				`{"type":"BOOKMARK","object":{}}`+"\n"+`{"type":"ADDED","object":{"metadata":{"name":"web-1"}}}`+"\n",
				map[string]string{"Authorization": "Bearer the-token", "Cookie": ""})
			server := httptest.NewTLSServer(handler)
			t.Cleanup(func() { server.CloseClientConnections(); server.Close() })
			dir := t.TempDir()
			ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
			for name, content := range map[string][]byte{"token": []byte("the-token\n"), "ca.crt": ca} {
				if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			config = strings.ReplaceAll(config, "/var/run/secrets/kubernetes.io/serviceaccount", dir)
			return replaceOnce(t, config, "10.96.0.1", server.Listener.Addr().String()), u
		},
		events:  []string{"ADDED web-1"},
		reached: []string{"GET /api/v1/pods?watch=1"},
	},
	"CouchDB changes": {
		path: "/changes",
		with: instead("localhost:5984", "/orders/_changes?feed=continuous&heartbeat=10000&since=0", "application/json",
			`{"seq":"1-a","id":"o"}`+"\n", map[string]string{"Authorization": ""}),
		events:  []string{`message {"seq":"1-a","id":"o"}`},
		reached: []string{"GET /orders/_changes?feed=continuous&heartbeat=10000&since=0"},
	},
	"Docker events": {
		path: "/docker",
		with: func(t *testing.T, config string) (string, *standIn) {
			handler, u := answers("/events", "application/json", `{"Type":"container","timeNano":7}{"Type":"image","timeNano":8}`, nil)
			dir, err := os.MkdirTemp("", "") // the name of a socket has little space
			if err != nil {
				t.Fatal(err)
			}
			socket := filepath.Join(dir, "docker.sock")
			listener, err := net.Listen("unix", socket)
			if err != nil {
				t.Fatal(err)
			}
			server := httptest.NewUnstartedServer(handler)
			server.Listener.Close()
			server.Listener = listener
			server.Start()
			t.Cleanup(func() { server.CloseClientConnections(); server.Close(); os.RemoveAll(dir) })
			return replaceOnce(t, config, "/var/run/docker.sock", socket), u
		},
		events:  []string{`container {"Type":"container","timeNano":7}`},
		reached: []string{"GET /events"},
	},
	"etcd": {
		path: "/config",
		with: instead("localhost:2379", "/v3/watch", "application/json",
			`{"result":{"created":true}}`+"\n"+`{"result":{"events":[1]}}`+"\n", map[string]string{"Authorization": ""}),
		events:  []string{"message [1]"},
		reached: []string{`POST /v3/watch {"create_request":{"key":"L2NvbmZpZw==","range_end":"L2NvbmZpaA=="}}`},
	},
	"GPS (gpsd)": {
		path:    "/gps",
		with:    insteadTCP("localhost:2947", `?WATCH={"enable":true,"json":true};`+"\n", `{"class":"TPV"}`+"\r\n"),
		events:  []string{`TPV {"class":"TPV"}`},
		reached: []string{"a connection that said " + `?WATCH={"enable":true,"json":true};` + "\n"},
	},
	"Aircraft (dump1090)": {
		path: "/aircraft", public: true,
		with: insteadTCP("localhost:30003", "", "\r\nSTA,,5,179,400AE7,10103,2008/11/28,14:58:51.153,2008/11/28,14:58:51.153,RM\r\n"+
			"MSG,3,1,1,40621D,1,2026/11/25,03:04:05.678,2026/11/25,03:04:05.700,,38000,,,52.2572,3.91937,,,0,0,0,0\r\n"),
		events: []string{`msg-3 {"kind":"MSG","type":"3","hex":"40621D","callsign":"","altitude":"38000","speed":"","track":"","lat":"52.2572","lon":"3.91937",` +
			`"climb":"","squawk":"","alert":"0","emergency":"0","spi":"0","ground":"0"}`},
		reached: []string{"a connection that said "},
	},
	"Ships (AIS, NMEA 0183)": {
		path: "/ships",
		with: func(t *testing.T, config string) (string, *standIn) {
			return replaceOnce(t, config, "10110", `{{port "ais"}}`), new(standIn)
		},
		then: pushes("ais", "$GPGGA,123519,4807.038,N,01131.000,E,1,08,0.9,545.4,M,46.9,M,,*47\r\n", "noise",
			"!AIVDM,1,1,,A,13u?etPv2;0n:dDPwUM1U1Cb069D,0*24\r\n"),
		events: []string{"VDM !AIVDM,1,1,,A,13u?etPv2;0n:dDPwUM1U1Cb069D,0*24"},
	},
	"nginx's access log": {
		path: "/errors",
		with: func(t *testing.T, config string) (string, *standIn) {
			log := filepath.Join(t.TempDir(), "access.log")
			line := `127.0.0.1 - alice [25/Nov/2026:03:04:05 +0000] "GET /%s HTTP/1.1" %d 153 "-" "curl/8.14.1"` + "\n"
			if err := os.WriteFile(log, []byte(fmt.Sprintf(line, "fine", 200)+fmt.Sprintf(line, `\x22}<script>`, 502)), 0o600); err != nil {
				t.Fatal(err)
			}
			return replaceOnce(t, config, "/var/log/nginx/access.log", log+" {\nfrom start\n}"), new(standIn)
		},
		events: []string{`status-502 {"time":"25/Nov/2026:03:04:05 +0000","request":"GET /\\x22}<script> HTTP/1.1","from":"127.0.0.1"}`},
	},
	"Redis": {
		path:    "/redis",
		with:    insteadTCP("localhost:6379", "MONITOR\r\n", "+OK\r\n+1.2 \"SET\"\r\n"),
		events:  []string{`message +1.2 "SET"`},
		reached: []string{"a connection that said MONITOR\r\n"},
	},
	"MQTT (mosquitto)": {
		path:    "/mqtt",
		with:    insteadOfCommand("mosquitto_sub", `echo '{"topic":"sensors/a","payload":"20"}'; exec sleep 1000`),
		events:  []string{"sensors/a 20"},
		reached: []string{"-t sensors/# -F %j"},
	},
	"A command": {
		path:    "/ping?host=-f%20localhost",
		with:    insteadOfCommand("ping", `echo "64 bytes from $4"`),
		events:  []string{"message 64 bytes from -f localhost", "done done"},
		reached: []string{"-c 10 -- -f localhost"},
	},
	"A log file": {
		path: "/log",
		with: func(t *testing.T, config string) (string, *standIn) {
			log := filepath.Join(t.TempDir(), "access.log")
			if err := os.WriteFile(log, []byte(`{"logger":"before"}`+"\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			return strings.ReplaceAll(config, "/var/log/caddy/access.log", log), new(standIn)
		},
		events: []string{`before {"logger":"before"}`},
	},
	"Upstreams that push": {
		path: "/syslog",
		with: func(t *testing.T, config string) (string, *standIn) {
			return replaceOnce(t, config, "5140", `{{port "syslog"}}`), new(standIn)
		},
		then: pushes("syslog", "hello", "<15>Nov 25 03:04:05 host app[1]: for debugging", "<11>Nov 25 03:04:05 host app[1]: it broke",
			`<34>1 2026-11-25T03:04:06.007Z host su - ID47 [a b="c"] denied`),
		events: []string{
			`severity-3 {"facility":1,"severity":3,"timestamp":"Nov 25 03:04:05","hostname":"host","appname":"app","procid":"1","message":"it broke"}`,
			`severity-2 {"facility":4,"severity":2,"timestamp":"2026-11-25T03:04:06.007Z","hostname":"host","appname":"su","msgid":"ID47","structured_data":{"a":{"b":"c"}},"message":"denied"}`,
		},
	},
}

// pushes sends datagrams to a port of the server.
func pushes(port string, datagrams ...string) func(*testing.T, *ssetest.Server) {
	return func(t *testing.T, server *ssetest.Server) {
		conn, err := net.Dial("udp", server.Addr(port))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		for _, text := range datagrams {
			_, _ = io.WriteString(conn, text)
		}
	}
}
