package sse

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

func init() {
	caddycmd.RegisterCommand(caddycmd.Command{
		Name:  "sse",
		Usage: "[--listen <addr>] [--path <path>] [--from <url|host:port|unix//path|file>] [--format <format>] [--data <template>] [--event <template>] [--id <template>] [--where <expression>] [--history <n>] [-- <command> [<args...>]]",
		Short: "Serves lines or JSON records as Server-Sent Events",
		Long: `
Serves what an upstream says, line by line or JSON record by JSON record, as
Server-Sent Events. A browser that opens the URL sees them on a page.

Records come from standard input, or else from a command (after --), or from
what --from names: a URL, a TCP address, a unix socket or a file. All clients
share one upstream; those that reconnect resume where they were, as far as the
history goes.

It ends when standard input or the command does, with exit code 1 if the
command failed, or on Ctrl-C.

	tail -F app.log | caddy sse
	caddy sse -- ping -c 100 localhost
	caddy sse --from localhost:30003
	caddy sse --from http://localhost:11434/api/ps --event '{record.type}'
`,
		CobraFunc: func(cmd *cobra.Command) {
			cmd.Args = cobra.ArbitraryArgs
			flags := cmd.Flags()
			flags.StringP("listen", "l", ":8080", "The address to listen on")
			flags.StringP("path", "p", "/events", "The path of the stream")
			flags.StringP("from", "f", "", "Where records come from: a URL, host:port, unix//path, or a file. Default: standard input")
			flags.String("format", "auto", "How bytes become records: auto, lines, ndjson, json_seq, json, event_stream")
			flags.String("data", "", "Template of the event's data. Default: {record}")
			flags.String("event", "", "Template of the event's type")
			flags.String("id", "", "Template of the event's id")
			flags.String("where", "", "CEL expression that a record has to meet")
			flags.Int("history", 256, "How many events are kept for clients that come later")
			flags.BoolP("debug", "v", false, "Enable verbose debug-level logging")
			cmd.RunE = caddycmd.WrapCommandFuncForCobra(runCommand)
		},
	})
}

func runCommand(fl caddycmd.Flags) (int, error) {
	backend, err := commandBackend(fl.String("from"), fl.Args())
	if err != nil {
		return caddy.ExitCodeFailedStartup, err
	}
	address, err := caddy.ParseNetworkAddressWithDefaults(fl.String("listen"), "tcp", 8080)
	if err != nil {
		return caddy.ExitCodeFailedStartup, fmt.Errorf("--listen: %w", err)
	}
	path := fl.String("path")
	if !strings.HasPrefix(path, "/") {
		return caddy.ExitCodeFailedStartup, fmt.Errorf("--path must begin with a slash, as in /%s", path)
	}
	if fl.Int("history") < 1 {
		return caddy.ExitCodeFailedStartup, errors.New("--history must be at least 1")
	}

	handler := func() *Handler {
		h := &Handler{
			BackendRaw: caddyconfig.JSONModuleObject(&commandLine{BackendRaw: backend}, "name", "command_line", nil),
			Format:     fl.String("format"), Event: fl.String("event"), ID: fl.String("id"), Where: fl.String("where"),
			Viewer: true, Drain: turnedOff, End: &End{Event: "end", Stop: true},
			Share: &Share{History: fl.Int("history"), Replay: fl.Int("history")},
		}
		if data := fl.String("data"); data != "" {
			h.Data = &data
		}
		return h
	}
	// What is wrong with an option is said in a line of its own, not behind those of everything that loads it.
	trial := handler()
	trial.setDefaults()
	if err := trial.compile(); err != nil {
		return caddy.ExitCodeFailedStartup, fmt.Errorf("--%w", err)
	}

	caddy.TrapSignals()
	caddy.RegisterModule(new(commandLine))
	if err := caddy.Run(commandConfig(handler(), address, path, fl.Bool("debug"))); err != nil {
		return caddy.ExitCodeFailedStartup, err
	}
	fmt.Printf("Serving events at %s\n", commandURL(address, path))

	err = <-upstreamOver
	waitForStreams(5 * time.Second)
	if stopErr := caddy.Stop(); err == nil {
		err = stopErr
	}
	sources.closeAll()
	if err != nil {
		return 1, err
	}
	return caddy.ExitCodeSuccess, nil
}

// commandBackend finds the backend for what the command line names.
func commandBackend(from string, command []string) (json.RawMessage, error) {
	backend := map[string]any{"name": "stdin"}
	switch {
	case from != "" && len(command) > 0:
		return nil, errors.New("records come either from --from or from a command: give only one of them")
	case len(command) > 0:
		backend = map[string]any{"name": "exec", "command": command}
	case strings.HasPrefix(from, "http://") || strings.HasPrefix(from, "https://"):
		backend = map[string]any{"name": "http", "url": from}
	case strings.HasPrefix(from, "unix/"):
		backend = map[string]any{"name": "dial", "address": from}
	case from != "" && !isFile(from) && isAddress(from):
		backend = map[string]any{"name": "dial", "address": from}
	case from != "":
		backend = map[string]any{"name": "file", "path": from}
	}
	return json.Marshal(backend)
}

func isFile(name string) bool {
	_, err := os.Stat(name)
	return err == nil
}

func isAddress(name string) bool {
	_, port, err := net.SplitHostPort(name)
	return err == nil && port != "" && !strings.Contains(name, string(os.PathSeparator))
}

func commandConfig(handler *Handler, address caddy.NetworkAddress, path string, debug bool) *caddy.Config {
	home := caddyhttp.StaticResponse{
		StatusCode: caddyhttp.WeakString("302"),
		Headers:    http.Header{"Location": {path}},
	}
	route := func(path string, handler any, name string) caddyhttp.Route {
		return caddyhttp.Route{
			MatcherSetsRaw: []caddy.ModuleMap{{"path": caddyconfig.JSON(caddyhttp.MatchPath{path}, nil)}},
			HandlersRaw:    []json.RawMessage{caddyconfig.JSONModuleObject(handler, "handler", name, nil)},
		}
	}
	routes := caddyhttp.RouteList{route(path, handler, "sse")}
	if path != "/" {
		routes = append(routes, route("/", home, "static_response"))
	}
	server := &caddyhttp.Server{
		Listen:    []string{address.String()},
		Protocols: []string{"h1", "h2c"}, // there is no TLS
		Routes:    routes,
		AutoHTTPS: &caddyhttp.AutoHTTPSConfig{Disabled: true},
	}
	level := "WARN"
	if debug {
		level = "DEBUG"
	}
	persist := false
	return &caddy.Config{
		Admin:   &caddy.AdminConfig{Disabled: true, Config: &caddy.ConfigSettings{Persist: &persist}},
		Logging: &caddy.Logging{Logs: map[string]*caddy.CustomLog{"default": {BaseLog: caddy.BaseLog{Level: level}, Exclude: []string{"admin"}}}},
		AppsRaw: caddy.ModuleMap{"http": caddyconfig.JSON(caddyhttp.App{Servers: map[string]*caddyhttp.Server{"sse": server}}, nil)},
	}
}

// commandURL is where a browser on this machine finds the stream.
func commandURL(address caddy.NetworkAddress, path string) string {
	if address.IsUnixNetwork() {
		return address.String() + " " + path
	}
	host := address.Host
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "localhost"
	}
	return "http://" + net.JoinHostPort(host, fmt.Sprint(address.StartPort)) + path
}

// waitForStreams gives clients time to read what is left.
func waitForStreams(most time.Duration) {
	for deadline := time.Now().Add(most); time.Now().Before(deadline) && len(openStreams.all()) > 0; {
		time.Sleep(10 * time.Millisecond)
	}
}

// upstreamOver tells the command that there will be no more, and why.
var upstreamOver = make(chan error, 1)

// commandLine is the backend of the command: the one that the command line names, opened at once, as it would be
// in a pipe, and for all clients; its end is the command's.
type commandLine struct {
	BackendRaw json.RawMessage `json:"backend,omitempty" caddy:"namespace=http.sse.backends inline_key=name"`

	upstream Upstream
}

func (*commandLine) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: backendNamespace + ".command_line", New: func() caddy.Module { return new(commandLine) }}
}

func (b *commandLine) Provision(ctx caddy.Context) error {
	module, err := ctx.LoadModule(b, "BackendRaw")
	if err != nil {
		return err
	}
	if shared, ok := module.(AlwaysShared); ok {
		b.upstream = shared.Upstream()
		return nil
	}
	request, err := http.NewRequest(http.MethodGet, "/", http.NoBody)
	if err != nil {
		return err
	}
	request = request.WithContext(context.WithValue(request.Context(), caddy.ReplacerCtxKey, caddy.NewReplacer()))
	b.upstream, err = module.(Backend).Bind(request)
	return err
}

func (b *commandLine) Bind(*http.Request) (Upstream, error) { return b.Upstream(), nil }
func (b *commandLine) Upstream() Upstream                   { return commandUpstream{b.upstream} }

// commandUpstream is over when standard input or the command is; anything else is opened anew.
type commandUpstream struct{ Upstream }

func (u commandUpstream) Stream(ctx context.Context, lastID string, sink Sink) error {
	err := u.Upstream.Stream(ctx, lastID, sink)
	if ctx.Err() != nil {
		return err
	}
	_, isCommand := u.Upstream.(*execUpstream)
	if !isCommand && !errors.Is(err, ErrEnded) {
		return err
	}
	if endedCleanly(err) {
		upstreamOver <- nil
		return ErrEnded
	}
	upstreamOver <- err
	return fmt.Errorf("%w: %w", ErrEnded, err)
}

var (
	_ AlwaysShared      = (*commandLine)(nil)
	_ caddy.Provisioner = (*commandLine)(nil)
)
