//go:build integration

package servers_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/seed-4dedbcea/caddy-sse/internal/ssetest"
	"github.com/seed-4dedbcea/caddy-sse/internal/upstreamtest"
)

// startCaddySSE starts "caddy sse" with these arguments and returns its standard input and the URL that it prints.
func startCaddySSE(t *testing.T, args ...string) (caddy *process, stdin io.WriteCloser, url string) {
	t.Helper()
	address := freeAddress(t)
	cmd := caddyCommand(t, append([]string{"sse", "--listen", address}, args...)...)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	caddy = startCommand(t, cmd)
	url = "http://" + address + "/events"
	ssetest.Wait(t, "the URL to be printed", func() bool {
		return strings.Contains(caddy.output.String(), "Serving events at "+url+"\n")
	})
	return caddy, stdin, url
}

func TestCommandServesStandardInputUntilItsEnd(t *testing.T) {
	caddy, stdin, url := startCaddySSE(t, "--event", "{record.type}", "--id", "{record.n}", "--where", "record.n != 2", "--format", "ndjson")
	fmt.Fprint(stdin, "{\"n\":1,\"type\":\"a\"}\n{\"n\":2,\"type\":\"a\"}\n")
	s := open(t, url)
	s.WaitEvents(1)
	fmt.Fprint(stdin, "{\"n\":3,\"type\":\"b\"}\n")
	s.WaitEvents(2)
	late := open(t, url)
	late.WaitEvents(2)
	resumed := open(t, url, ssetest.LastEventID("1"))
	resumed.WaitEvents(1)
	fmt.Fprint(stdin, `{"n":4,"type":"c"}`)
	stdin.Close()

	for i, s := range []*ssetest.Stream{s, late, resumed} {
		if err := s.WaitEnd(); err != nil {
			t.Errorf("stream %d ended with %v", i, err)
		}
		var said []string
		for _, e := range s.Events() {
			said = append(said, e.Type+" "+e.Data)
		}
		want := []string{`a {"n":1,"type":"a"}`, `b {"n":3,"type":"b"}`, `c {"n":4,"type":"c"}`, "end end"}
		if i == 2 {
			want = want[1:]
		}
		if got, want := strings.Join(said, ", "), strings.Join(want, ", "); got != want {
			t.Errorf("events of stream %d are %s, want %s", i, got, want)
		}
	}
	if code := caddy.waitExit(t); code != 0 {
		t.Errorf("exit code is %d, want 0", code)
	}
}

func TestCommandGoesOnToServeWhatItKeepsAfterItsInputHasEnded(t *testing.T) {
	for name, input := range map[string][]string{"standard input": nil, "command": {"--", "echo", "one"}, "failed command": {"--", "sh", "-c", "echo one; exit 3"}} {
		t.Run(name, func(t *testing.T) {
			caddy, stdin, url := startCaddySSE(t, append([]string{"--keep"}, input...)...)
			fmt.Fprint(stdin, "one\n")
			stdin.Close()
			ssetest.Wait(t, "it to say so", func() bool { return strings.Contains(caddy.output.String(), "Serving what is kept") })
			failed := name == "failed command"
			for range 2 {
				s := open(t, url)
				if err := s.WaitEnd(); (err != nil) != failed {
					t.Errorf("the stream ended with %v", err)
				}
				if got := data(s); len(got) != 2 || got[0] != "one" {
					t.Errorf("events say %s", got)
				}
				if resumed := open(t, url, ssetest.LastEventID(s.Events()[0].ID)); resumed.WaitEnd() == nil == failed || len(data(resumed)) != 1 {
					t.Errorf("a client that returns: %v", resumed)
				}
			}
			if err := caddy.cmd.Process.Signal(os.Interrupt); err != nil {
				t.Fatal(err)
			}
			if code := caddy.waitExit(t); code != 0 {
				t.Errorf("exit code is %d, want 0", code)
			}
		})
	}
}

func TestCommandFollowsALogThroughAPipe(t *testing.T) {
	log := write(t, "app.log", "one\n")
	address := freeAddress(t)
	cmd := caddyCommand(t)
	cmd.Path, cmd.Args = program(t, "sh"), []string{"sh", "-c", `tail -F "$1" | "$2" sse --listen "$3"`, "sh", log, caddyBinary, address}
	startCommand(t, cmd).waitListening(t, address)
	s := open(t, "http://"+address+"/events")
	s.WaitEvents(1)
	appendTo(t, log, "two\n")
	s.WaitEvents(2)
	if got, want := strings.Join(data(s), "|"), "one|two"; got != want {
		t.Errorf("events say %s, want %s", got, want)
	}
	checkIDs(t, s)
}

func TestCommandServesACommandAndExitsAsItDoes(t *testing.T) {
	for status, want := range map[string]int{"0": 0, "3": 1} {
		t.Run("exit status "+status, func(t *testing.T) {
			goOn := filepath.Join(t.TempDir(), "go on")
			caddy, _, url := startCaddySSE(t, "--", "sh", "-c",
				`echo "one $2"; until [ -e "$1" ]; do sleep 0.1; done; echo two; exit "$3"`, "sh", goOn, `$(a) 'b' "c"`, status)
			s := open(t, url)
			s.WaitEvents(1)
			appendTo(t, goOn, "")
			if err := s.WaitEnd(); (err == nil) != (status == "0") {
				t.Errorf("the stream ended with %v", err)
			}
			if got := strings.Join(data(s)[:2], "|"); got != `one $(a) 'b' "c"|two` {
				t.Errorf("events say %s, want the two lines of the command", got)
			}
			last := map[string]string{"0": "end", "3": "sse-error"}[status]
			if events := s.Events(); len(events) != 3 || events[2].Type != last {
				t.Errorf("the events are %v, want %s at last", events, last)
			}
			if code := caddy.waitExit(t); code != want {
				t.Errorf("exit code is %d, want %d", code, want)
			}
		})
	}
}

func TestCommandServesWhatFromNames(t *testing.T) {
	greet := func(conn net.Conn) {
		fmt.Fprint(conn, "hello\r\n")
		_, _ = io.Copy(io.Discard, conn)
	}
	socket := filepath.Join(t.TempDir(), "socket")
	tcp := upstreamtest.ServeSocket(t, "tcp", "127.0.0.1:0", greet)
	upstreamtest.ServeSocket(t, "unix", socket, greet)
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, "hello\n")
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	}))
	defer web.Close()
	file := write(t, "a file.log", "")

	for name, from := range map[string]string{"address": tcp, "unix socket": "unix/" + socket, "URL": web.URL, "file": file} {
		t.Run(name, func(t *testing.T) {
			_, _, url := startCaddySSE(t, "--from", from)
			s := open(t, url)
			if from == file {
				ssetest.Wait(t, "the file to be followed", func() bool {
					appendTo(t, file, "hello\n")
					return len(s.Events()) > 0
				})
			}
			if e := s.WaitEvents(1)[0]; e.Data != "hello" {
				t.Errorf("event is %+v, want hello", e)
			}
		})
	}
}

func TestCommandOpensAnewWhatHasEnded(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	go func() {
		for n := 1; ; n++ {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			fmt.Fprintln(conn, n)
			conn.Close()
		}
	}()
	_, _, url := startCaddySSE(t, "--from", listener.Addr().String())
	s := open(t, url)
	if got := s.WaitEvents(3); got[0].Data != "1" || got[2].Data != "3" {
		t.Errorf("events are %v, want those of three connections", got)
	}
}

func TestCommandShowsWhatACommandSaysOnItsStandardError(t *testing.T) {
	caddy, _, url := startCaddySSE(t, "--", "sh", "-c", "for i in $(seq 100); do echo oops $i >&2; done; echo one; sleep 1000")
	open(t, url).WaitEvents(1)
	ssetest.Wait(t, "all lines of standard error", func() bool {
		return strings.Contains(caddy.output.String(), "oops 1\noops 2\n") && strings.Contains(caddy.output.String(), "\noops 100\n")
	})
}

func TestCommandIsForThisMachineAloneUnlessToldOtherwise(t *testing.T) {
	if help := run(t, caddyBinary, "sse", "--help"); !strings.Contains(help, `(default "localhost:8080")`) {
		t.Errorf("it listens elsewhere: %s", help)
	}
	status := func(url, host, origin string) int {
		request, err := http.NewRequest(http.MethodGet, url, nil)
		if err != nil {
			t.Fatal(err)
		}
		request.Host = host
		if origin != "" {
			request.Header.Set("Origin", origin)
		}
		return ssetest.Do(t, ssetest.Client(t, "h1"), request).Status
	}
	_, _, loopback := startCaddySSE(t)
	port := portOf(strings.TrimSuffix(strings.TrimPrefix(loopback, "http://"), "/events"))
	for _, c := range []struct {
		host, origin string
		want         int
	}{
		{"localhost:" + port, "", 200},
		{"127.0.0.1:" + port, "http://127.0.0.1:" + port, 200},
		{"evil.example:" + port, "", 403},
		{"evil.example:" + port, "http://evil.example:" + port, 403},
		{"localhost:" + port, "http://localhost:1", 403},
	} {
		for _, path := range []string{"/events", "/"} {
			want := c.want
			if want == 200 && path == "/" {
				want = 302 // to the stream
			}
			if got := status(strings.TrimSuffix(loopback, "/events")+path, c.host, c.origin); got != want {
				t.Errorf("host %s, origin %q: %s is answered with status %d, want %d", c.host, c.origin, path, got, want)
			}
		}
	}
	everywhere := fmt.Sprintf(":%d", ssetest.FreePort(t))
	cmd := caddyCommand(t, "sse", "--listen", everywhere)
	if _, err := cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	startCommand(t, cmd).waitListening(t, "127.0.0.1"+everywhere)
	if got := status("http://127.0.0.1"+everywhere+"/events", "a-name-of-mine", ""); got != 200 {
		t.Errorf("on all addresses: status %d, want 200", got)
	}
}

func TestCtrlCEndsTheCommandAndWhatItRuns(t *testing.T) {
	pid := filepath.Join(t.TempDir(), "pid")
	caddy, _, url := startCaddySSE(t, "--", "sh", "-c", `echo $$ >"$1"; echo started; sleep 1000`, "sh", pid)
	s := open(t, url)
	s.WaitEvents(1)
	if err := caddy.cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if code := caddy.waitExit(t); code != 0 {
		t.Errorf("exit code is %d, want 0", code)
	}
	if err := s.WaitEnd(); err != nil {
		t.Errorf("the stream ended with %v", err)
	}
	text, err := os.ReadFile(pid)
	if err != nil {
		t.Fatal(err)
	}
	var group int
	fmt.Sscan(string(text), &group)
	ssetest.Wait(t, "the command's processes to end", func() bool { return syscall.Kill(-group, 0) == syscall.ESRCH })
}

func TestCommandSaysWhichPortTheSystemHasChosen(t *testing.T) {
	cmd := caddyCommand(t, "sse", "--listen", "localhost:0", "--path", "/what happens")
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	caddy := startCommand(t, cmd)
	var url string
	ssetest.Wait(t, "the URL to be printed", func() bool {
		n, _ := fmt.Sscanf(caddy.output.String(), "Serving events at %s\n", &url)
		return n == 1
	})
	s := open(t, url)
	fmt.Fprint(stdin, "one\n")
	if e := s.WaitEvents(1)[0]; e.Data != "one" {
		t.Errorf("event is %+v, want one", e)
	}
}

func TestCommandServesASocketThatItIsGiven(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	socket, err := listener.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	cmd := caddyCommand(t, "sse", "--listen", "fd/3")
	cmd.ExtraFiles = []*os.File{socket}
	if _, err := cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	caddy := startCommand(t, cmd)
	ssetest.Wait(t, "the command to serve", func() bool { return strings.Contains(caddy.output.String(), "Serving events at ") })
	open(t, "http://"+listener.Addr().String()+"/events")
}

func TestCommandWaitsForAFileAndSaysSo(t *testing.T) {
	file := filepath.Join(t.TempDir(), "app.log")
	caddy, _, url := startCaddySSE(t, "--from", file)
	if !strings.Contains(caddy.output.String(), file+" is not there yet") {
		t.Errorf("it says %q, but not that there is no %s", caddy.output.String(), file)
	}
	s := open(t, url)
	appendTo(t, file, "one\n")
	if e := s.WaitEvents(1)[0]; e.Data != "one" {
		t.Errorf("event is %+v, want one", e)
	}
}

func TestCommandIsInShellCompletionManPageAndHelp(t *testing.T) {
	man := t.TempDir()
	run(t, caddyBinary, "manpage", "--directory", man)
	if page, err := os.ReadFile(filepath.Join(man, "caddy-sse.8")); err != nil || !strings.Contains(string(page), "caddy sse -- ping") {
		t.Errorf("the man page has no example: %v", err)
	}
	for _, c := range [][]string{
		{"--from", "__complete", "sse", "--f"},
		{"sse\t", "__complete", "ss"},
		{"json_seq\n", "__complete", "sse", "--format", ""},
		{"Examples:\n  tail -F app.log | caddy sse\n", "sse", "--help"},
		{"\n  sse ", "help"},
	} {
		if said := run(t, caddyBinary, c[1:]...); !strings.Contains(said, c[0]) {
			t.Errorf("caddy %s has no %q: %s", strings.Join(c[1:], " "), c[0], said)
		}
	}
	for _, shell := range []string{"bash", "zsh", "fish", "powershell"} {
		run(t, caddyBinary, "completion", shell)
	}
}

func TestCommandSaysWhatIsWrong(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	_, _, running := startCaddySSE(t, "--from", "localhost:1")
	other, err := url.Parse(running)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		args []string
		want string
	}{
		"address of another":    {[]string{"--listen", other.Host}, "address already in use"},
		"two upstreams":         {[]string{"--from", "localhost:1", "--", "cat"}, "give only one"},
		"unknown flag":          {[]string{"--form", "localhost:1"}, "--form"},
		"path without slash":    {[]string{"--path", "events"}, "/events"},
		"no history":            {[]string{"--history", "0"}, "--history"},
		"unknown format":        {[]string{"--format", "xml"}, "format"},
		"unclosed template":     {[]string{"--data", "{record.a"}, "data"},
		"broken expression":     {[]string{"--where", "record.a =="}, "where"},
		"address that is taken": {[]string{"--listen", taken.Addr().String()}, "address already in use"},
		"address that is none":  {[]string{"--listen", "localhost:http:80"}, "localhost:http:80"},
		"no such command":       {[]string{"--", "no-such-command-anywhere"}, "no-such-command-anywhere"},
		"command without --":    {[]string{"cat"}, "caddy sse -- cat"},
		"file without --from":   {[]string{"app.log"}, "caddy sse --from app.log"},
		"a single =":            {[]string{"--where", "record.a = 1"}, "--where: expression \"record.a = 1\": line 1, column 10: a single = does not compare: write =="},
		"a URL of another kind": {[]string{"--from", "ftp://localhost/"}, "http://"},
		"a URL without a host":  {[]string{"--from", "http://"}, "--from"},
		"port that is none":     {[]string{"--from", "localhost:http"}, "--from"},
		"folder":                {[]string{"--from", t.TempDir()}, "folder"},
	} {
		t.Run(name, func(t *testing.T) {
			args := append([]string{"sse", "--listen", freeAddress(t)}, c.args...)
			caddy := startCommand(t, caddyCommand(t, args...))
			if code := caddy.waitExit(t); code == 0 {
				t.Error("exit code is 0")
			}
			said := caddy.output.String()
			if strings.Count(said, "\n") != 1 || !strings.HasPrefix(said, "Error: ") || !strings.Contains(said, c.want) {
				t.Errorf("it says %q, want one error that has %q", said, c.want)
			}
		})
	}
}
