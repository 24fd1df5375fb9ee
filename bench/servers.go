package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// server is a server to measure.
type server struct {
	name string
	path string // the path that clients request

	takesEvents  bool   // its upstream sends ready-made Server-Sent Events
	passesNDJSON bool   // its clients get NDJSON
	mapped       bool   // its events carry the record's type and number
	coding       string // the content coding that its clients accept

	// prepare builds or finds the parts that the server needs. An error says what is missing.
	prepare func(context.Context, *kit) error
	// command is the server's command. helper, if any, is that of a publisher, whose cost does not count.
	command func(*kit, place) ([]string, error)
	helper  func(*kit, place) []string
}

// sharing is the site for our streams that share a source.
const sharing = `sse {
		backend dial {tcp}
		heartbeat 5s
		share {
			history 4096 4MiB
		}
	}`

var servers = []server{
	{name: ours, path: "/", prepare: product, command: caddyfile("sse\nreverse_proxy {http}")},
	{name: oursMapped, path: "/", mapped: true, prepare: product, command: caddyfile(`sse {
		event {record.type}
		id {record.n}
	}
	reverse_proxy {http}`)},
	{name: oursBackend, path: "/", prepare: product, command: caddyfile(`sse {
		backend http http://{http}/
	}`)},
	{name: oursShared, path: "/", prepare: product, command: caddyfile(sharing)},
	{name: oursZstd, path: "/", coding: "zstd", prepare: product, command: caddyfile(strings.Replace(sharing, "share", "compress zstd\n\t\tshare", 1))},
	{name: oursGzip, path: "/", coding: "gzip", prepare: product, command: caddyfile(strings.Replace(sharing, "share", "compress gzip\n\t\tshare", 1))},
	{name: encodeZstd, path: "/", coding: "zstd", prepare: product, command: caddyfile("encode zstd\n\t" + sharing)},
	{name: encodeGzip, path: "/", coding: "gzip", prepare: product, command: caddyfile("encode gzip\n\t" + sharing)},
	{name: passSSE, path: "/", takesEvents: true, prepare: plainCaddy, command: caddyfile("reverse_proxy {http}")},
	{name: passNDJSON, path: "/", passesNDJSON: true, prepare: plainCaddy, command: caddyfile("reverse_proxy {http}")},
	{name: channels, path: "/", prepare: build("channels"), command: func(k *kit, p place) ([]string, error) {
		return caddyCommand(k.path("channels"), p, "channels {tcp}")
	}},
	{name: nginx, path: "/", takesEvents: true, prepare: program("nginx"), command: nginxConf(`
		location / {
			proxy_pass http://{http};
			proxy_http_version 1.1;
			proxy_set_header Connection "";
			proxy_buffering off;
			proxy_read_timeout 1h;
		}`)},
	{name: nchan, path: "/sub", prepare: nchanModule, command: nginxConf(`
		location = /sub {
			nchan_subscriber eventsource;
			nchan_channel_id bench;
			nchan_subscriber_first_message newest;
			nchan_eventsource_ping_interval 5;
		}
		location = /pub {
			nchan_publisher;
			nchan_channel_id bench;
			nchan_message_buffer_length 256;
		}`), helper: func(k *kit, p place) []string {
		return []string{k.path("nchan"), "-feed", p.tcp, "-publish", "http://" + p.listen + "/pub"}
	}},
	{name: nodeProxy, path: "/", prepare: program("node"), command: func(k *kit, p place) ([]string, error) {
		return []string{k.path("node"), k.source("peers/node/proxy.js"), p.port(p.listen), p.port(p.http)}, nil
	}},
	{name: nodeHub, path: "/", prepare: program("node"), command: func(k *kit, p place) ([]string, error) {
		return []string{k.path("node"), k.source("peers/node/hub.js"), p.port(p.listen), p.port(p.tcp)}, nil
	}},
	{name: quart, path: "/", prepare: pythonModules, command: func(k *kit, p place) ([]string, error) {
		return []string{k.path("python3"), k.source("peers/quart/proxy.py"), p.port(p.listen), p.port(p.tcp)}, nil
	}},
	{name: mercureHub, path: "/?topic=bench", prepare: build("mercure"), command: hub("mercure")},
	{name: goSSE, path: "/", prepare: build("gosse"), command: hub("gosse")},
	{name: r3labs, path: "/?stream=bench", prepare: build("r3labs"), command: hub("r3labs")},
}

// kit holds the programs for the benchmark, in a folder that is removed at the end.
type kit struct {
	dir      string
	sources  string
	programs map[string]string
}

// newKit builds emitter and swarm. The benchmark must run in its own folder, where the sources of the peers are.
func newKit(ctx context.Context, caddy string) (*kit, error) {
	sources, err := os.Getwd()
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(filepath.Join(sources, "peers")); err != nil {
		return nil, fmt.Errorf("run the benchmark in its own folder, bench: %w", err)
	}
	k := &kit{sources: sources, programs: make(map[string]string)}
	if k.dir, err = os.MkdirTemp("", "caddy-sse-bench"); err != nil {
		return nil, err
	}
	if err := os.Chmod(k.dir, 0o755); err != nil {
		return nil, err
	}
	if caddy != "" {
		if k.programs["caddy"], err = filepath.Abs(caddy); err != nil {
			return nil, err
		}
	}
	if err := errors.Join(k.build(ctx, ".", "./emitter"), k.build(ctx, ".", "./swarm")); err != nil {
		k.remove()
		return nil, err
	}
	return k, nil
}

func (k *kit) remove() { os.RemoveAll(k.dir) }

func (k *kit) path(program string) string { return k.programs[program] }

func (k *kit) source(name string) string { return filepath.Join(k.sources, name) }

// build compiles a package from the module in this folder into the kit.
func (k *kit) build(ctx context.Context, module, pkg string) error {
	name := filepath.Base(pkg)
	if k.programs[name] != "" {
		return nil
	}
	path := filepath.Join(k.dir, name)
	cmd := exec.CommandContext(ctx, "go", "build", "-o", path, pkg)
	cmd.Dir = filepath.Join(k.sources, module)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("building %s: %w\n%s", pkg, err, out)
	}
	k.programs[name] = path
	return nil
}

func build(name string) func(context.Context, *kit) error {
	return func(ctx context.Context, k *kit) error { return k.build(ctx, ".", "./peers/"+name) }
}

func program(name string) func(context.Context, *kit) error {
	return func(_ context.Context, k *kit) (err error) {
		k.programs[name], err = exec.LookPath(name)
		return err
	}
}

func plainCaddy(ctx context.Context, k *kit) error { return k.build(ctx, "..", "./cmd/caddy") }

func product(ctx context.Context, k *kit) error {
	if err := plainCaddy(ctx, k); err != nil {
		return err
	}
	modules, err := exec.CommandContext(ctx, k.path("caddy"), "list-modules").Output()
	if err != nil {
		return err
	}
	if !strings.Contains(string(modules), "http.handlers.sse\n") {
		return fmt.Errorf("%s has no module http.handlers.sse", k.path("caddy"))
	}
	return nil
}

// nchanModules are the paths of the module in different distributions.
var nchanModules = []string{
	"/usr/lib/nginx/modules/ngx_nchan_module.so",
	"/usr/lib64/nginx/modules/ngx_nchan_module.so",
	"/usr/local/lib/nginx/modules/ngx_nchan_module.so",
}

func nchanModule(ctx context.Context, k *kit) error {
	if err := program("nginx")(ctx, k); err != nil {
		return err
	}
	for _, path := range nchanModules {
		if _, err := os.Stat(path); err == nil {
			k.programs["nchan module"] = path
			return build("nchan")(ctx, k)
		}
	}
	return fmt.Errorf("nginx has no module nchan (libnginx-mod-nchan); looked for %s", strings.Join(nchanModules, ", "))
}

// pythonModules finds a Python with Quart. The distribution's packages belong to /usr/bin/python3, which may not be the first one in the
// PATH.
func pythonModules(ctx context.Context, k *kit) error {
	for _, name := range []string{"python3", "/usr/bin/python3"} {
		path, err := exec.LookPath(name)
		if err == nil && exec.CommandContext(ctx, path, "-c", "import quart, hypercorn").Run() == nil {
			k.programs["python3"] = path
			return nil
		}
	}
	return errors.New("no python3 with quart and hypercorn (python3-quart, python3-hypercorn)")
}

func hub(name string) func(*kit, place) ([]string, error) {
	return func(k *kit, p place) ([]string, error) {
		return []string{k.path(name), "-listen", p.listen, "-feed", p.tcp}, nil
	}
}

func caddyfile(site string) func(*kit, place) ([]string, error) {
	return func(k *kit, p place) ([]string, error) { return caddyCommand(k.path("caddy"), p, site) }
}

func (p place) fill(text string) string {
	return strings.NewReplacer("{http}", p.http, "{tcp}", p.tcp).Replace(text)
}

func caddyCommand(binary string, p place, site string) ([]string, error) {
	path, err := p.file("Caddyfile", p.fill(fmt.Sprintf(`{
	admin off
	persist_config off
	auto_https off
	grace_period 1s
	log {
		level WARN
	}
}
http://:%s {
	bind 127.0.0.1
	%s
}
`, p.port(p.listen), site)))
	return []string{binary, "run", "--config", path, "--adapter", "caddyfile"}, err
}

func nginxConf(locations string) func(*kit, place) ([]string, error) {
	return func(k *kit, p place) ([]string, error) {
		load := ""
		if strings.Contains(locations, "nchan_") {
			load = "load_module " + k.path("nchan module") + ";"
		}
		conf, err := p.file("nginx.conf", p.fill(fmt.Sprintf(`%s
daemon off;
pid %s/nginx.pid;
error_log stderr error;
worker_processes auto;
worker_rlimit_nofile %d;
events {
	worker_connections %d;
}
http {
	access_log off;
	client_body_temp_path %[2]s/body;
	proxy_temp_path %[2]s/proxy;
	fastcgi_temp_path %[2]s/fastcgi;
	uwsgi_temp_path %[2]s/uwsgi;
	scgi_temp_path %[2]s/scgi;
	server {
		listen %[5]s backlog=4096;
		%[6]s
	}
}
`, load, p.dir, maxOpenFiles, maxOpenFiles/2, p.listen, locations)))
		return []string{k.path("nginx"), "-p", p.dir, "-c", conf}, err
	}
}
