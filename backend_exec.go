package sse

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/seed-4dedbcea/caddy-sse/internal/caddykit/argument"
	"github.com/seed-4dedbcea/caddy-sse/internal/caddykit/directive"
	"github.com/seed-4dedbcea/caddy-sse/internal/caddykit/ratelog"
)

func init() {
	caddy.RegisterModule(new(ExecBackend))

	// No command outlives the server, be its route gone by a reload, or the grace period over before its stream.
	caddy.OnExit(func(context.Context) { processes.endAll() })
}

// ExecBackend runs a command and takes what it writes to its standard output. There is no shell: each argument
// reaches the command as it is, whatever a request has put into it. All options take placeholders; {last_id} is the
// id of the last event.
//
// The command and all that it has started end with the stream. They get SIGTERM, and SIGKILL after stop_timeout;
// so does what a command leaves behind when it exits by itself. On Linux the command is killed with the server, too,
// should that be killed itself. What the command has started then lives on, unless whatever runs the server ends it, as
// systemd and containers do. So does, after its stream, what has left the command's process group ("setsid").
//
// A stream takes a process, and those that the command starts. On Linux, commands leave a quarter of what the server's
// limits of processes and threads allow (ulimit -u, systemd's TasksMax, a container's pids.max), at most 256, to the
// server; if there is no room for another one, the response is a 503.
//
// The command's standard input is empty. Of the server's environment it has PATH, HOME, USER, LANG, LC_*, TZ and
// TMPDIR. An exit status other than 0 is a failure of the upstream.
type ExecBackend struct {
	// The command, looked up in the server's PATH, and its arguments.
	Command []string `json:"command"`

	// The directory it runs in. Default: the server's.
	Dir string `json:"dir,omitempty"`

	// Environment variables that it gets in addition.
	Env map[string]string `json:"env,omitempty"`

	// What happens to its standard error: log writes the lines to the server's log, at info, not more than a few a
	// second; records makes records of them, as of its standard output. Default: log.
	Stderr string `json:"stderr,omitempty"`

	// How long it has to end after SIGTERM. Default: 5s.
	StopTimeout caddy.Duration `json:"stop_timeout,omitempty"`

	// Runs it with a pseudo-terminal as its standard output: most commands write line by line only to a terminal,
	// and hold back some kilobytes of output otherwise. The terminal changes no byte of the output, is 4096 columns
	// wide, and TERM is dumb unless env says otherwise. Default: false.
	Pty bool `json:"pty,omitempty"`

	command     argument.List
	dir         argument.Argument
	envNames    []string
	env         argument.List
	logger      *zap.Logger
	stderrLimit *ratelog.Limiter // for all processes of the backend together

	defaultStopTimeout bool      // the config has none
	shown              io.Writer // takes standard error in place of the log; nil: the log does
}

// The values of ExecBackend.Stderr.
const (
	stderrLog     = "log"
	stderrRecords = "records"
)

// CaddyModule returns the Caddy module information.
func (*ExecBackend) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: backendNamespace + ".exec", New: func() caddy.Module { return new(ExecBackend) }}
}

// Provision compiles the options.
func (b *ExecBackend) Provision(ctx caddy.Context) error {
	b.logger = ctx.Logger()
	b.stderrLimit = ratelog.New(stderrLines, time.Second)
	directive.SetDefault(&b.Stderr, stderrLog)
	b.defaultStopTimeout = b.StopTimeout == 0
	directive.SetDefault(&b.StopTimeout, caddy.Duration(5*time.Second))
	return b.Compile()
}

func (b *ExecBackend) Compile() (err error) {
	if len(b.Command) == 0 || b.Command[0] == "" {
		return errors.New("exec: there is no command")
	}
	if b.Stderr != "" && b.Stderr != stderrLog && b.Stderr != stderrRecords {
		return fmt.Errorf("stderr must be %s or %s, not %q", stderrLog, stderrRecords, b.Stderr)
	}
	if b.StopTimeout < 0 {
		return errors.New("stop_timeout must be above zero")
	}
	if b.Pty && !ptySupported {
		return errors.New("pty: there are no pseudo-terminals on " + runtime.GOOS)
	}
	if b.command, err = argument.ParseList(b.Command); err != nil {
		return fmt.Errorf("exec: %w", err)
	}
	if b.dir, err = argument.Parse(b.Dir, argument.Text); err != nil {
		return fmt.Errorf("dir: %w", err)
	}
	b.envNames, b.env = slices.Sorted(maps.Keys(b.Env)), nil
	for _, name := range b.envNames {
		if name == "" || strings.ContainsAny(name, "=\x00") {
			return fmt.Errorf("env: %q is not a name", name)
		}
		value, err := argument.Parse(b.Env[name], argument.Text)
		if err != nil {
			return fmt.Errorf("env: %w", err)
		}
		b.env = append(b.env, value)
	}
	return nil
}

// Bind expands the request's placeholders.
func (b *ExecBackend) Bind(r *http.Request) (Upstream, error) {
	u := &execUpstream{backend: b}
	var err error
	if u.command, err = b.command.Bind(r); err != nil {
		return nil, err
	}
	if u.dir, err = b.dir.Bind(r); err != nil {
		return nil, err
	}
	u.env, err = b.env.Bind(r)
	return u, err
}

// execUpstream is a command to run.
type execUpstream struct {
	backend *ExecBackend
	command argument.List
	dir     argument.Argument
	env     argument.List
}

func (u *execUpstream) Key() string {
	b := u.backend
	return Key("exec", u.command.Key(), u.dir.Key(), Key(b.envNames...), u.env.Key(), b.Stderr, strconv.FormatBool(b.Pty))
}

func (u *execUpstream) Stream(ctx context.Context, lastID string, sink Sink) error {
	cmd, err := u.newCommand(lastID)
	if err != nil {
		return err
	}
	p, err := start(cmd, u.backend.Pty)
	if err != nil {
		return u.startError(err)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	processes.add(p, cancel)
	defer processes.remove(p)
	if caddy.Exiting() { // too late to be among those that are ended at exit
		cancel()
	}
	go p.supervise(ctx, u.backend.stopTimeout)

	err = u.read(p, sink, cancel)
	<-p.gone
	p.stdout.Close()
	p.stderr.Close()
	if err == nil && ctx.Err() == nil {
		err = p.exitError()
	}
	return err
}

// execStopTimeout is the longest stop_timeout of a stop if the config says nothing; see stopDrain.
const execStopTimeout = 1500 * time.Millisecond

// stopTimeout is how long a command has for its end, which a stop of the server makes shorter.
func (b *ExecBackend) stopTimeout() time.Duration {
	timeout := time.Duration(b.StopTimeout)
	if b.defaultStopTimeout && caddy.Exiting() {
		timeout = min(timeout, execStopTimeout)
	}
	return timeout
}

// startError is the response if a command could not be started.
func (u *execUpstream) startError(err error) error {
	err = fmt.Errorf("starting the command: %w", err)
	if !isNoRoom(err) {
		return err
	}
	if ok, _ := noRoomWarnings.Allow(); ok {
		u.backend.logger.Error("commands are refused", zap.Error(err))
	}
	return caddyhttp.Error(http.StatusServiceUnavailable, err)
}

// newCommand is the command with its placeholders expanded.
func (u *execUpstream) newCommand(lastID string) (*exec.Cmd, error) {
	command, err := u.command.Expand(lastID)
	if err != nil {
		return nil, err
	}
	env, err := u.env.Expand(lastID)
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(command[0], command[1:]...)
	if cmd.Dir, err = u.dir.Expand(lastID); err != nil {
		return nil, err
	}
	cmd.Env = inheritedEnv(os.Environ())
	if u.backend.Pty {
		cmd.Env = append(cmd.Env, "TERM=dumb")
	}
	for i, value := range env {
		cmd.Env = append(cmd.Env, u.backend.envNames[i]+"="+value) // of two of the same name the last one counts
	}
	return cmd, nil
}

// inheritedEnv is what of the server's environment is a command's business. The rest may be the server's secrets.
func inheritedEnv(environ []string) []string {
	env := []string{} // nil would be all of it
	for _, variable := range environ {
		name, _, _ := strings.Cut(variable, "=")
		switch name {
		case "PATH", "HOME", "USER", "LANG", "TZ", "TMPDIR":
			env = append(env, variable)
		default:
			if strings.HasPrefix(name, "LC_") {
				env = append(env, variable)
			}
		}
	}
	return env
}

// read takes what the command writes until nobody can write any more. It cancels the command if nobody wants more.
func (u *execUpstream) read(p *process, sink Sink, cancel func()) error {
	stdout, stderr, err := u.open(sink)
	if err != nil {
		cancel()
		return err
	}
	stderrDone := make(chan error, 1)
	go func() { stderrDone <- p.copy(stderr, p.stderr, cancel) }()
	err = p.copy(stdout, p.stdout, cancel)
	err = errors.Join(err, <-stderrDone)
	if logged, ok := stderr.(*lineLogger); ok {
		logged.flush()
	}
	return err
}

// open opens what takes the standard output and the standard error.
func (u *execUpstream) open(sink Sink) (stdout, stderr io.Writer, err error) {
	b := u.backend
	if stdout, err = sink.Open(""); err != nil {
		return nil, nil, err
	}
	if b.shown != nil {
		return stdout, b.shown, nil
	}
	if b.Stderr == stderrRecords {
		stderr, err = sink.Open("")
		return stdout, stderr, err
	}
	return stdout, &lineLogger{logger: b.logger.With(zap.String("command", b.Command[0])), limit: b.stderrLimit}, nil
}

// UnmarshalCaddyfile sets up the backend from Caddyfile tokens. Syntax:
//
//	backend exec <command> [<args...>] {
//	    dir          <path>
//	    env          <name> <value>
//	    stderr       log | records
//	    stop_timeout <duration>
//	    pty
//	}
func (b *ExecBackend) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // consume backend name
	b.Command = d.RemainingArgs()
	if len(b.Command) == 0 {
		return d.ArgErr()
	}
	if err := directive.Compiled(d, b.Compile); err != nil {
		return err
	}
	seen := make(directive.Seen)
	for d.NextBlock(0) {
		var err error
		if d.Val() != "env" {
			err = seen.Add(d)
		}
		if err != nil {
			return err
		}
		switch d.Val() {
		case "dir":
			b.Dir, err = directive.Checked(d, argument.Check)
		case "env":
			err = b.parseEnv(d)
		case "stderr":
			b.Stderr, err = directive.OneOf(d, stderrLog, stderrRecords)
		case "stop_timeout":
			b.StopTimeout, err = directive.Duration(d)
		case "pty":
			b.Pty, err = true, directive.NoArgs(d)
		default:
			err = d.Errf("unrecognized subdirective %q of backend exec", d.Val())
		}
		if err != nil {
			return err
		}
	}
	return directive.Compiled(d, b.Compile)
}

func (b *ExecBackend) parseEnv(d *caddyfile.Dispenser) error {
	given, err := directive.Args(d, 2, 2)
	if err != nil {
		return err
	}
	name, value := given[0], given[1]
	if _, twice := b.Env[name]; twice {
		return d.Errf("env %s is given twice: remove one of them", name)
	}
	if b.Env == nil {
		b.Env = make(map[string]string)
	}
	b.Env[name] = value
	return directive.Compiled(d, b.Compile)
}

var (
	_ Backend               = (*ExecBackend)(nil)
	_ Upstream              = (*execUpstream)(nil)
	_ caddy.Provisioner     = (*ExecBackend)(nil)
	_ caddyfile.Unmarshaler = (*ExecBackend)(nil)
)
