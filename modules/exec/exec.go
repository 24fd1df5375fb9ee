// Package exec is the backend that runs a command.
package exec

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
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/seed-4dedbcea/caddy-sse/backend"
	"github.com/seed-4dedbcea/caddy-sse/internal/caddykit/argument"
	"github.com/seed-4dedbcea/caddy-sse/internal/caddykit/directive"
	"github.com/seed-4dedbcea/caddy-sse/internal/caddykit/ratelog"
)

func init() {
	caddy.RegisterModule(new(Backend))

	// No command outlives the server, even if a reload has removed its route, or if the grace period ends before its stream
	// does.
	caddy.OnExit(func(context.Context) { processes.endAll() })
}

// Backend runs a command and reads records from its standard output. It uses no shell: each argument is passed to the command as it
// is, even if it has values from a request. All options can have placeholders. {last_id} is the id of the last event.
//
// The command and the processes that it has started end with the stream. They get SIGTERM, and SIGKILL after stop_timeout. Processes
// that a command leaves behind when it exits are ended in the same way. On Linux, the command is killed even if the server itself
// is killed. Processes that the command has started continue to run in that case, unless systemd or a container ends them. A
// process that has left the command's process group ("setsid") continues to run after the stream.
//
// Each stream takes a process, and those that its command starts. On Linux, commands leave a part of the limits on processes and
// threads (ulimit -u, systemd's TasksMax, a container's pids.max) to the server: a quarter, but at most 256. If another command
// would exceed that, the response is a 503.
//
// The command's standard input is empty. Its environment has PATH, HOME, USER, LANG, LC_*, TZ and TMPDIR from the server's. An exit
// status other than 0 is a failure of the upstream.
type Backend struct {
	// The command and its arguments. The command is searched in the server's PATH.
	Command []string `json:"command"`

	// The command's working directory. Default: the server's.
	Dir string `json:"dir,omitempty"`

	// Additional environment variables for the command.
	Env map[string]string `json:"env,omitempty"`

	// Where the command's standard error goes. log writes the lines to the server's log at info, at most 20 per second. records
	// turns them into records, like standard output. Default: log.
	Stderr string `json:"stderr,omitempty"`

	// The time between SIGTERM and SIGKILL. Default: 5s.
	StopTimeout caddy.Duration `json:"stop_timeout,omitempty"`

	// Give the command a pseudo-terminal as its standard output. Most commands write line by line only to a terminal, and
	// otherwise buffer some kilobytes of output. The terminal does not change the output. It is 4096 columns wide. TERM is dumb
	// unless env sets it. Default: false.
	Pty bool `json:"pty,omitempty"`

	command     argument.List
	dir         argument.Argument
	envNames    []string
	env         argument.List
	logger      *zap.Logger
	stderrLimit *ratelog.Limiter // shared by all processes of the backend

	defaultStopTimeout bool      // StopTimeout is the default, not from the config
	shown              io.Writer // gets standard error instead of the log or the records; nil without one
}

// The values of Backend.Stderr.
const (
	stderrLog     = "log"
	stderrRecords = "records"
)

// CaddyModule returns the Caddy module information.
func (*Backend) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: backend.Namespace + ".exec", New: func() caddy.Module { return new(Backend) }}
}

// Provision compiles the options.
func (b *Backend) Provision(ctx caddy.Context) error {
	b.logger = ctx.Logger()
	b.stderrLimit = ratelog.New(stderrLines, time.Second)
	directive.SetDefault(&b.Stderr, stderrLog)
	b.defaultStopTimeout = b.StopTimeout == 0
	directive.SetDefault(&b.StopTimeout, caddy.Duration(5*time.Second))
	return b.Compile()
}

// Compile checks and compiles the options. A Caddyfile is parsed with it, so that its errors name the file and the line.
func (b *Backend) Compile() (err error) {
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

// ShowStderr makes standard error go to w instead of the log or the records.
func (b *Backend) ShowStderr(w io.Writer) { b.shown = w }

// Bind expands the request's placeholders.
func (b *Backend) Bind(r *http.Request) (backend.Upstream, error) {
	u := &upstream{backend: b}
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

// upstream is the command to run.
type upstream struct {
	backend *Backend
	command argument.List
	dir     argument.Argument
	env     argument.List
}

func (u *upstream) Key() string {
	b := u.backend
	return backend.Key("exec", u.command.Key(), u.dir.Key(), backend.Key(b.envNames...), u.env.Key(), b.Stderr, strconv.FormatBool(b.Pty))
}

// Continues implements backend.Continuer.
func (u *upstream) Continues() bool {
	return u.command.UsesLastID() || u.env.UsesLastID()
}

func (u *upstream) Stream(ctx context.Context, lastID string, sink backend.Sink) error {
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
	if caddy.Exiting() { // the exit function may have run before it was added
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

// ExitTimeout is the default stop_timeout when the server exits. Streams end before that, and systemd kills Caddy 5 s after it has
// told it to stop.
const ExitTimeout = 1500 * time.Millisecond

// stopTimeout returns the time between SIGTERM and SIGKILL. The default is shorter when the server exits.
func (b *Backend) stopTimeout() time.Duration {
	timeout := time.Duration(b.StopTimeout)
	if b.defaultStopTimeout && caddy.Exiting() {
		timeout = min(timeout, ExitTimeout)
	}
	return timeout
}

// startError returns the error for a command that could not be started.
func (u *upstream) startError(err error) error {
	err = fmt.Errorf("starting the command: %w", err)
	if !isNoRoom(err) {
		return err
	}
	if ok, _ := noRoomWarnings.Allow(); ok {
		u.backend.logger.Error("commands are refused", zap.Error(err))
	}
	return caddyhttp.Error(http.StatusServiceUnavailable, err)
}

// newCommand returns the command with its placeholders expanded.
func (u *upstream) newCommand(lastID string) (*exec.Cmd, error) {
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
		cmd.Env = append(cmd.Env, u.backend.envNames[i]+"="+value) // the last variable with a name counts
	}
	return cmd, nil
}

// inheritedEnv returns the part of the server's environment that a command gets. The rest may hold secrets.
func inheritedEnv(environ []string) []string {
	env := []string{} // nil would mean the whole environment
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

// read reads the command's output until no process can write to it any more. It cancels the command if the sink wants no more.
func (u *upstream) read(p *process, sink backend.Sink, cancel func()) error {
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

// open returns the writers for standard output and standard error.
func (u *upstream) open(sink backend.Sink) (stdout, stderr io.Writer, err error) {
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

var (
	_ backend.Backend   = (*Backend)(nil)
	_ backend.Upstream  = (*upstream)(nil)
	_ caddy.Provisioner = (*Backend)(nil)
)
