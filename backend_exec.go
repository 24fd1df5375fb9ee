package sse

import (
	"bytes"
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
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

func init() {
	caddy.RegisterModule(new(ExecBackend))
}

// ExecBackend runs a command and takes what it writes to its standard output. There is no shell: each argument
// reaches the command as it is, whatever a request has put into it. All options take placeholders; {last_id} is the
// id of the last event.
//
// The command and all that it has started end with the stream. They get SIGTERM, and SIGKILL after stop_timeout;
// so does what a command leaves behind when it exits by itself. On Linux the command is killed with the server, too,
// should that die without having had the time for it.
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

	command  []argument
	dir      argument
	envNames []string
	env      []argument
	logger   *zap.Logger
	logLimit logLimit
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
	setDefault(&b.Stderr, stderrLog)
	setDefault(&b.StopTimeout, caddy.Duration(5*time.Second))
	return b.compile()
}

func (b *ExecBackend) compile() (err error) {
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
	if b.command, err = parseArguments(b.Command); err != nil {
		return fmt.Errorf("exec: %w", err)
	}
	if b.dir, err = parseArgument(b.Dir, asText); err != nil {
		return fmt.Errorf("dir: %w", err)
	}
	b.envNames, b.env = slices.Sorted(maps.Keys(b.Env)), nil
	for _, name := range b.envNames {
		if name == "" || strings.ContainsAny(name, "=\x00") {
			return fmt.Errorf("env: %q is not a name", name)
		}
		value, err := parseArgument(b.Env[name], asText)
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
	if u.command, err = bindAll(b.command, r); err != nil {
		return nil, err
	}
	if u.dir, err = b.dir.bind(r); err != nil {
		return nil, err
	}
	u.env, err = bindAll(b.env, r)
	return u, err
}

// execUpstream is a command to run.
type execUpstream struct {
	backend *ExecBackend
	command []argument
	dir     argument
	env     []argument
}

func (u *execUpstream) Key() string {
	b := u.backend
	return Key("exec", keysOf(u.command), u.dir.key(), Key(b.envNames...), keysOf(u.env), b.Stderr, strconv.FormatBool(b.Pty))
}

func (u *execUpstream) Stream(ctx context.Context, lastID string, sink Sink) error {
	cmd, err := u.newCommand(lastID)
	if err != nil {
		return err
	}
	p, err := start(cmd, u.backend.Pty)
	if err != nil {
		return fmt.Errorf("starting the command: %w", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		p.supervise(ctx, time.Duration(u.backend.StopTimeout))
	}()

	err = u.read(p, sink)
	if err != nil {
		cancel()
	}
	<-stopped
	p.stdout.Close()
	p.stderr.Close()
	if err == nil && ctx.Err() == nil {
		err = p.exitError()
	}
	return err
}

// newCommand is the command with its placeholders expanded.
func (u *execUpstream) newCommand(lastID string) (*exec.Cmd, error) {
	command, err := expandAll(u.command, lastID)
	if err != nil {
		return nil, err
	}
	env, err := expandAll(u.env, lastID)
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(command[0], command[1:]...)
	if cmd.Dir, err = u.dir.expand(lastID); err != nil {
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

// read takes what the command writes until nobody can write any more.
func (u *execUpstream) read(p *process, sink Sink) error {
	input, err := sink.Open("")
	if err != nil {
		return err
	}
	logged := &lineLogger{logger: u.backend.logger.With(zap.String("command", u.backend.Command[0])), limit: &u.backend.logLimit}
	var errput io.Writer = logged
	if u.backend.Stderr == stderrRecords {
		if errput, err = sink.Open(""); err != nil {
			return err
		}
	}
	stderrDone := make(chan error, 1)
	go func() {
		err := p.copy(errput, p.stderr)
		if err != nil {
			p.stdout.Close() // ends the other copy, and with SIGPIPE the command
		}
		logged.flush()
		stderrDone <- err
	}()
	err = p.copy(input, p.stdout)
	if err != nil {
		p.stderr.Close()
	}
	return errors.Join(err, <-stderrDone)
}

// process is a command that runs, with all that it has started.
type process struct {
	cmd            *exec.Cmd
	stdout, stderr *os.File      // what it writes
	exited         chan struct{} // closed when the command has been waited for
	waitErr        error         // then: how it ended
}

// start starts a command. What it writes goes through pipes of our own, not of os/exec, which would wait for
// everyone who holds them.
func start(cmd *exec.Cmd, pty bool) (*process, error) {
	stderr, errWriter, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer errWriter.Close()
	stdout, outWriter, err := openOutput(pty)
	if err != nil {
		stderr.Close()
		return nil, err
	}
	defer outWriter.Close()
	cmd.Stdout, cmd.Stderr = outWriter, errWriter
	cmd.SysProcAttr = processAttributes(pty)
	p := &process{cmd: cmd, stdout: stdout, stderr: stderr, exited: make(chan struct{})}

	started := make(chan error)
	go func() {
		// The kernel's "die with your parent" means the thread, not the process. A goroutine that is locked to its
		// thread keeps that alive, until the command has ended; it takes no more threads, as the wait takes one.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			p.waitErr = cmd.Wait()
			close(p.exited)
		}
	}()
	if err := <-started; err != nil {
		stdout.Close()
		stderr.Close()
		return nil, err
	}
	return p, nil
}

// supervise returns when the command and all that it has started have ended. When ctx ends, it sees to that.
func (p *process) supervise(ctx context.Context, stopTimeout time.Duration) {
	select {
	case <-ctx.Done():
		// Whoever writes now gets SIGPIPE, and nobody waits for us to read.
		p.stdout.Close()
		p.stderr.Close()
	case <-p.exited:
	}
	p.terminate(stopTimeout)
	// Wakes up the reads: there may still be someone who holds a pipe, though not of the command's group.
	_ = p.stdout.SetReadDeadline(time.Unix(1, 0))
	_ = p.stderr.SetReadDeadline(time.Unix(1, 0))
}

// What is still in a pipe is read when all who have ended can have written to it, though for no longer than this
// and no more than a pipe can hold: someone else may have the pipe and write to it for ever.
const (
	drainTime = time.Second
	drainSize = 1 << 20
)

// copy writes what comes through the pipe to an input, until there is nobody left who writes.
func (p *process) copy(to io.Writer, pipe *os.File) error {
	err := copyInput(to, pipe, readSize)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		err = copyInput(to, io.LimitReader(hurried{pipe}, drainSize), readSize)
	}
	if isEndOfTerminal(err) || errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, os.ErrClosed) {
		return nil
	}
	return err
}

// hurried reads what is there.
type hurried struct{ pipe *os.File }

func (h hurried) Read(p []byte) (int, error) {
	if err := h.pipe.SetReadDeadline(time.Now().Add(drainTime)); err != nil {
		return 0, err
	}
	return h.pipe.Read(p)
}

// exitError is why the command's end is a failure.
func (p *process) exitError() error {
	var exit *exec.ExitError
	if errors.As(p.waitErr, &exit) {
		return fmt.Errorf("command ended with %s", exit) // such as "exit status 1", "signal: killed"
	}
	return p.waitErr
}

// lineLogger writes lines to the log.
type lineLogger struct {
	logger *zap.Logger
	limit  *logLimit
	line   []byte
}

// maxLogLine is how much of a line is logged.
const maxLogLine = 4 << 10

func (l *lineLogger) Write(p []byte) (int, error) {
	for line := range bytes.Lines(p) {
		text, ended := bytes.CutSuffix(line, []byte("\n"))
		l.line = append(l.line, text[:min(len(text), maxLogLine-len(l.line))]...)
		if ended {
			l.flush()
		}
	}
	return len(p), nil
}

func (l *lineLogger) flush() {
	if line := bytes.TrimRight(l.line, "\r"); len(line) > 0 {
		if ok, dropped := l.limit.allow(time.Now()); ok {
			if dropped > 0 {
				l.logger.Info("lines of standard error were not logged, as there were too many", zap.Int("lines", dropped))
			}
			l.logger.Info("standard error", zap.ByteString("line", line))
		}
	}
	l.line = l.line[:0]
}

// logLimit bounds how many lines are logged: those of all the processes of a backend together.
type logLimit struct {
	mu      sync.Mutex
	since   time.Time
	logged  int
	dropped int
}

// maxLogRate is how many lines are logged each second.
const maxLogRate = 20

// allow is whether another line may be logged; if so, it returns how many were not since the last one that was.
func (l *logLimit) allow(now time.Time) (ok bool, dropped int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if now.Sub(l.since) >= time.Second {
		l.since, l.logged = now, 0
	}
	if l.logged == maxLogRate {
		l.dropped++
		return false, 0
	}
	l.logged++
	dropped, l.dropped = l.dropped, 0
	return true, dropped
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
	if err := provisionedBy(d, b.compile); err != nil {
		return err
	}
	seen := make(seenOptions)
	for d.NextBlock(0) {
		var err error
		if d.Val() != "env" {
			err = seen.add(d)
		}
		if err != nil {
			return err
		}
		switch d.Val() {
		case "dir":
			b.Dir, err = checked(d, checkArgument)
		case "env":
			err = b.parseEnv(d)
		case "stderr":
			b.Stderr, err = oneOf(d, stderrLog, stderrRecords)
		case "stop_timeout":
			b.StopTimeout, err = parseDuration(d)
		case "pty":
			b.Pty, err = true, noArgs(d)
		default:
			err = d.Errf("unrecognized subdirective %q of backend exec", d.Val())
		}
		if err != nil {
			return err
		}
	}
	return provisionedBy(d, b.compile)
}

func (b *ExecBackend) parseEnv(d *caddyfile.Dispenser) error {
	given, err := args(d, 2, 2)
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
	return provisionedBy(d, b.compile)
}

var (
	_ Backend               = (*ExecBackend)(nil)
	_ Upstream              = (*execUpstream)(nil)
	_ caddy.Provisioner     = (*ExecBackend)(nil)
	_ caddyfile.Unmarshaler = (*ExecBackend)(nil)
)
