package ssetest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"

	_ "github.com/caddyserver/caddy/v2/modules/standard"
)

// Server is a real Caddy in the test's process. It changes each config, Caddyfile or JSON, so that the test is isolated. Unless the
// config says otherwise, there is no admin endpoint, the config is not persisted, the storage is in a folder of the test, there are
// no redirects to HTTPS, listeners without a host use 127.0.0.1, the protocols are h1, h2, h2c and h3, sites have a certificate for
// localhost without a tls directive, and Logs has all logs from DEBUG up, except for those of the events app.
//
// {{port "name"}} in a config stands for a free port. It is the same port for the same name.
type Server struct {
	t         testing.TB
	dir       string
	cert, key string
	ports     map[string]int
	stop      sync.Once
}

// Log is one line in the server's log.
type Log struct {
	Level, Logger, Message string
	Fields                 map[string]any // the whole line
}

// Rewrite, if it is set, changes each config before it is loaded. Each server has another folder.
var Rewrite func(folder, config string) string

// running guards the only Caddy in the process.
var running sync.Mutex

// Site returns the Caddyfile of a site for localhost with these directives. It has two ports: "http" for h1 and h2c, and "https" for
// h1tls, h2 and h3. Server.URL uses these ports.
func Site(directives string) string {
	return "http://localhost:{{port \"http\"}}, https://localhost:{{port \"https\"}} {\n" + directives + "\n}\n"
}

// Start runs a Caddy with this Caddyfile until the test ends. There can be only one at a time.
func Start(t testing.TB, caddyfile string) *Server {
	t.Helper()
	s := newServer(t)
	s.Reload(caddyfile)
	return s
}

// StartJSON is Start with a JSON config.
func StartJSON(t testing.TB, config string) *Server {
	t.Helper()
	s := newServer(t)
	if err := s.load(config); err != nil {
		t.Fatalf("loading %s: %v", config, err)
	}
	return s
}

func newServer(t testing.TB) *Server {
	t.Helper()
	if !running.TryLock() {
		t.Fatal("another Caddy runs in this process: one test at a time, and no t.Parallel")
	}
	s := &Server{t: t, dir: t.TempDir(), ports: make(map[string]int)}
	t.Cleanup(func() {
		s.Stop()
		_ = caddy.Stop() // closes the log
		running.Unlock()
	})
	for _, name := range []string{"HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME"} {
		t.Setenv(name, s.dir)
	}
	s.cert, s.key = Cert(t)
	return s
}

// Reload replaces the running config, as "caddy reload --force" does. For a moment, the old config may still answer on old connections.
// If that matters, wait for an answer from the new one.
func (s *Server) Reload(caddyfile string) {
	s.t.Helper()
	if err := s.TryReload(caddyfile); err != nil {
		s.t.Fatalf("loading:\n%s\n%v", caddyfile, err)
	}
}

// TryReload is Reload for a config that may be wrong. If it is, the running config stays.
func (s *Server) TryReload(caddyfile string) error {
	config, err := Adapt(s.expand(caddyfile))
	if err != nil {
		return err
	}
	return s.load(config)
}

// Stop stops the server as a reload with an empty config does: the modules of the old config are told to stop, and open responses may
// end. Logs can still be read.
func (s *Server) Stop() {
	s.stop.Do(func() {
		if err := s.load("{}"); err != nil {
			s.t.Errorf("stopping: %v", err)
		}
	})
}

// Addr returns the address for {{port "name"}}: 127.0.0.1:port.
func (s *Server) Addr(name string) string { return fmt.Sprintf("127.0.0.1:%d", s.port(name)) }

// URL returns the URL of a path for a client with this protocol. The site must be from Site, or have ports with the same names.
func (s *Server) URL(protocol, path string) string {
	scheme := "https"
	if protocol == "h1" || protocol == "h2c" {
		scheme = "http"
	}
	return fmt.Sprintf("%s://localhost:%d%s", scheme, s.port(scheme), path)
}

// Logs returns the log lines so far.
func (s *Server) Logs() []Log {
	s.t.Helper()
	text, err := os.ReadFile(s.logFile())
	if err != nil {
		s.t.Fatal(err)
	}
	var logs []Log
	for line := range bytes.Lines(text) {
		if !bytes.HasSuffix(line, []byte("\n")) {
			break // the line is still being written
		}
		var l Log
		if err := json.Unmarshal(line, &l.Fields); err != nil {
			s.t.Fatalf("log line %q: %v", line, err)
		}
		l.Level, _ = l.Fields["level"].(string)
		l.Logger, _ = l.Fields["logger"].(string)
		l.Message, _ = l.Fields["msg"].(string)
		logs = append(logs, l)
	}
	return logs
}

// WaitLog waits for a log line that matches, and returns the first.
func (s *Server) WaitLog(what string, matches func(Log) bool) Log {
	s.t.Helper()
	var found Log
	Wait(s.t, "the log line of "+what, func() bool {
		for _, l := range s.Logs() {
			if matches(l) {
				found = l
				return true
			}
		}
		return false
	})
	return found
}

// Adapt returns the JSON of a Caddyfile, as "caddy adapt" does.
func Adapt(caddyfile string) (string, error) {
	config, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(caddyfile), map[string]any{"filename": "Caddyfile"})
	return string(config), err
}

var portPattern = regexp.MustCompile(`\{\{port "([^"]+)"\}\}`)

func (s *Server) expand(config string) string {
	if Rewrite != nil {
		config = Rewrite(s.dir, config)
	}
	return portPattern.ReplaceAllStringFunc(config, func(placeholder string) string {
		return fmt.Sprint(s.port(portPattern.FindStringSubmatch(placeholder)[1]))
	})
}

func (s *Server) port(name string) int {
	for s.ports[name] == 0 {
		if port := FreePort(s.t); !slices.Contains(slices.Collect(maps.Values(s.ports)), port) {
			s.ports[name] = port
		}
	}
	return s.ports[name]
}

func (s *Server) logFile() string { return filepath.Join(s.dir, "caddy.log") }

// object is a JSON object in a config. Its method at returns a member that is an object, too, and creates it if necessary.
type object map[string]any

func (o object) at(path ...string) object {
	for _, name := range path {
		member, ok := o[name].(map[string]any)
		if !ok {
			member = make(map[string]any)
			o[name] = member
		}
		o = member
	}
	return o
}

func (o object) setDefault(name string, value any) {
	if _, ok := o[name]; !ok {
		o[name] = value
	}
}

func (s *Server) load(config string) error {
	decoder := json.NewDecoder(strings.NewReader(s.expand(config)))
	decoder.UseNumber()
	var root object
	if err := decoder.Decode(&root); err != nil {
		return err
	}

	if _, ok := root["admin"]; !ok {
		root.at("admin")["disabled"] = true
	}
	root.at("admin", "config")["persist"] = false
	root.setDefault("storage", map[string]any{"module": "file_system", "root": s.dir})

	logs := root.at("logging", "logs")
	logs.at("default").setDefault("level", "DEBUG")
	if _, ok := logs.at("default")["include"]; !ok {
		// At DEBUG, the event for each TLS handshake reads data that the tls app's Start has written. For HTTP/3, the race
		// detector does not see the order of the two, because it does not follow UDP packets.
		logs.at("default").setDefault("exclude", []string{"events"})
	}
	for name := range logs {
		logs.at(name).setDefault("writer", map[string]any{"output": "file", "filename": s.logFile(), "roll": false})
		logs.at(name).setDefault("encoder", map[string]any{"format": "json"})
	}

	if _, ok := root.at("apps")["http"]; ok {
		servers := root.at("apps", "http", "servers")
		for name := range servers {
			server := servers.at(name)
			server.setDefault("protocols", []string{"h1", "h2", "h2c", "h3"})
			server.at("automatic_https").setDefault("disable_redirects", true)
			if listen, ok := server["listen"].([]any); ok {
				for i, address := range listen {
					if port, ok := address.(string); ok && strings.HasPrefix(port, ":") {
						listen[i] = "127.0.0.1" + port
					}
				}
			}
		}
		root.at("apps", "tls", "certificates").setDefault("load_files", []any{
			map[string]any{"certificate": s.cert, "key": s.key},
		})
	}

	text, err := json.Marshal(root)
	if err != nil {
		return err
	}
	err = caddy.Load(text, true)
	s.waitListeners()
	return err
}
