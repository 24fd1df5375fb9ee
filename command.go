package sse

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os/exec"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/seed-4dedbcea/caddy-sse/internal/caddykit/directive"
	"github.com/seed-4dedbcea/caddy-sse/internal/core/records"
	"github.com/seed-4dedbcea/caddy-sse/internal/engine/share"
	"github.com/seed-4dedbcea/caddy-sse/internal/engine/stream"
	"github.com/seed-4dedbcea/caddy-sse/modules/commandline"
	"github.com/seed-4dedbcea/caddy-sse/modules/loopback"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

func init() {
	caddycmd.RegisterCommand(caddycmd.Command{
		Name:  "sse",
		Usage: "[--listen <addr>] [--path <path>] [--from <url|host:port|unix//path|file>] [--format <format>] [--data <template>] [--event <template>] [--id <template>] [--where <expression>] [--history <n>] [--keep] [-- <command> [<args...>]]",
		Short: "Serves lines or JSON records as Server-Sent Events",
		Long: `
Serves what an upstream says, line by line or JSON record by JSON record, as
Server-Sent Events. A browser that opens the URL sees them on a page.

Records come from standard input, or else from a command (after --), or from
what --from names: a URL, a TCP address, a unix socket or a file. All clients
share one upstream; those that reconnect resume where they were, as far as the
history goes.

It listens on this machine alone, and refuses what pages of other sites ask for,
unless --listen names another address. Then whoever reaches that address can read
the stream: nobody is asked for a password.

It ends when standard input or the command does, with exit code 1 if the
command failed, or on Ctrl-C. With --keep, it then goes on to serve what the
history holds, until Ctrl-C.
`,
		CobraFunc: func(cmd *cobra.Command) {
			cmd.Example = `  tail -F app.log | caddy sse
  caddy sse -- ping -c 100 localhost
  caddy sse --from localhost:30003
  caddy sse --from app.ndjson --event '{record.level}' --where 'record.level != "debug"'
  caddy sse --from 'http://localhost:5984/orders/_changes?feed=continuous' --id '{record.seq}'`
			cmd.Args = cobra.ArbitraryArgs
			flags := cmd.Flags()
			flags.StringP("listen", "l", "localhost:8080", "The address to listen on; :8080 is on all of this machine's")
			flags.StringP("path", "p", "/events", "The path of the stream")
			flags.StringP("from", "f", "", "Where records come from: a URL, host:port, unix//path, or a file. Default: standard input")
			flags.String("format", "auto", "How bytes become records: "+strings.Join(records.FormatNames(), ", "))
			flags.String("data", "", "Template of the event's data. Default: {record}")
			flags.String("event", "", "Template of the event's type")
			flags.String("id", "", "Template of the event's id")
			flags.String("where", "", "CEL expression that a record has to meet")
			flags.Int("history", 256, "How many events are kept for clients that come later")
			flags.Bool("keep", false, "Go on to serve what is kept after standard input or the command has ended")
			flags.BoolP("debug", "v", false, "Enable verbose debug-level logging")
			_ = cmd.RegisterFlagCompletionFunc("format", cobra.FixedCompletions(records.FormatNames(), cobra.ShellCompDirectiveNoFileComp))
			_ = cmd.RegisterFlagCompletionFunc("path", cobra.NoFileCompletions)
			// This does not use Caddy's own wrapper, which logs errors. A mistake in the command line is reported in one line.
			cmd.RunE = func(*cobra.Command, []string) error { return runCommand(caddycmd.Flags{FlagSet: flags}) }
		},
	})
}

func runCommand(fl caddycmd.Flags) error {
	if fl.NArg() > 0 && fl.ArgsLenAtDash() != 0 {
		if _, err := exec.LookPath(fl.Arg(0)); err != nil {
			return fmt.Errorf("unexpected argument %q: did you mean caddy sse --from %[1]s?", fl.Arg(0))
		}
		return fmt.Errorf("unexpected argument %q: a command comes after --, as in caddy sse -- %[1]s", fl.Arg(0))
	}
	backend, err := commandline.New(fl.String("from"), fl.Args())
	if err != nil {
		return err
	}
	address, err := caddy.ParseNetworkAddressWithDefaults(fl.String("listen"), "tcp", 8080)
	if err != nil {
		return fmt.Errorf("--listen: %w", err)
	}
	path := fl.String("path")
	if !strings.HasPrefix(path, "/") {
		return fmt.Errorf("--path must begin with a slash, as in /%s", path)
	}
	if fl.Int("history") < 1 {
		return errors.New("--history must be at least 1")
	}

	handler := func() *Handler {
		h := &Handler{
			BackendRaw: caddyconfig.JSONModuleObject(backend, "name", "command_line", nil),
			Format:     fl.String("format"), Event: fl.String("event"), ID: fl.String("id"), Where: fl.String("where"),
			Viewer: true, Drain: directive.Off,
			Share: &Share{History: fl.Int("history"), Replay: fl.Int("history")},
		}
		if fl.String("from") == "" { // standard input or a command; any other upstream is opened again when it ends
			h.End = &End{Event: "end", Stop: true}
		}
		if data := fl.String("data"); data != "" {
			h.Data = &data
		}
		return h
	}
	// Report a wrong option without the messages of the modules that load it.
	trial := handler()
	trial.setDefaults()
	if err := trial.compile(); err != nil {
		return fmt.Errorf("--%w", err)
	}

	if err := checkFree(address); err != nil {
		return fmt.Errorf("--listen: %w", err)
	}
	caddy.TrapSignals()
	caddy.RegisterModule(new(commandline.Backend))
	caddy.RegisterModule(new(loopback.Guard))
	if err := caddy.Run(commandConfig(handler(), address, path, fl.Bool("debug"))); err != nil {
		return err
	}
	fmt.Printf("Serving events at %s\n", commandURL(listening(address), path))

	if err = commandline.Wait(); fl.Bool("keep") {
		reason := "has ended"
		if err != nil {
			reason = "has failed: " + err.Error()
		}
		fmt.Printf("The input %s. Serving what is kept, until Ctrl-C\n", reason)
		select {} // a signal ends the process
	}
	waitForStreams(5 * time.Second)
	if stopErr := caddy.Stop(); err == nil {
		err = stopErr
	}
	share.CloseAll()
	return err
}

// checkFree returns an error if another process listens on the address. Caddy would share it with another Caddy, and each would get
// a part of the clients.
func checkFree(address caddy.NetworkAddress) error {
	if address.IsUnixNetwork() || address.IsFdNetwork() {
		return nil
	}
	listener, err := net.Listen(address.Network, address.JoinHostPort(0))
	if err != nil {
		return err
	}
	return listener.Close()
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
	var routes caddyhttp.RouteList
	if loopback.Is(address) {
		guard := &loopback.Guard{Hosts: []string{address.Host, "localhost", "127.0.0.1", "::1"}}
		routes = append(routes, caddyhttp.Route{HandlersRaw: []json.RawMessage{caddyconfig.JSONModuleObject(guard, "handler", "sse_loopback_only", nil)}})
	}
	routes = append(routes, route(path, handler, "sse"))
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

// listening returns the address with the port that the system has chosen for port 0.
func listening(address caddy.NetworkAddress) caddy.NetworkAddress {
	if address.IsUnixNetwork() || address.StartPort != 0 {
		return address
	}
	app, err := caddy.ActiveContext().App("http")
	if err != nil {
		return address
	}
	for _, l := range app.(*caddyhttp.App).Servers["sse"].Listeners() {
		if at, ok := l.Addr().(*net.TCPAddr); ok {
			address.StartPort = uint(at.Port)
		}
	}
	return address
}

// commandURL returns the stream's URL for a browser on this machine.
func commandURL(address caddy.NetworkAddress, path string) string {
	if address.IsUnixNetwork() || address.IsFdNetwork() {
		return address.String() + " " + path
	}
	host := address.Host
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "localhost"
	}
	at := url.URL{Scheme: "http", Host: net.JoinHostPort(host, fmt.Sprint(address.StartPort)), Path: path}
	return at.String()
}

// waitForStreams gives clients time to read the rest of their streams.
func waitForStreams(most time.Duration) {
	for deadline := time.Now().Add(most); time.Now().Before(deadline) && len(stream.All()) > 0; {
		time.Sleep(10 * time.Millisecond)
	}
}
