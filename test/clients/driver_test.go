//go:build integration

package clients_test

import (
	"bufio"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"sync"
	"testing"
	"time"
)

// A job is what a driver is asked for, as a line of JSON: one client, that reads one URL.
type job struct {
	ID       int      `json:"id"`
	Client   string   `json:"client"`
	Base     string   `json:"base"` // the server's URL; its /page is a page for clients in a browser
	Path     string   `json:"path"`
	Events   int      `json:"events"`          // a client of a stream stops when it has shown so many
	Ends     bool     `json:"ends"`            // or, if this is set, when it will not come back
	Patience int64    `json:"patience"`        // milliseconds that it waits for the next event
	Types    []string `json:"types,omitempty"` // of events that are to be reported whole, by the vectors' tests
}

// A report is what a driver says of a job.
type report struct {
	ID        int
	Shown     []string // the payloads, as the client has shown them, and "" for an event without one
	Error     string
	StaysAway bool
	Events    []browserEvent
}

// A browserEvent is one of a job with Types.
type browserEvent struct{ Type, Data, ID string }

// A driver is a program that runs clients. It ends when its input does.
type driver struct {
	cmd   *exec.Cmd
	input io.WriteCloser

	mu      sync.Mutex
	waiting map[int]chan report
	broken  bool
}

const (
	// patience is longer than any client waits before it comes back.
	patience = 30 * time.Second
	// heavyPatience is for a machine that has much to do for all clients at once.
	heavyPatience = 2 * time.Minute
)

func startDriver(t *testing.T, cmd *exec.Cmd) *driver {
	t.Helper()
	d := &driver{cmd: cmd, waiting: make(map[int]chan report)}
	cmd.Stderr = os.Stderr
	input, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	output, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatalf("starting %s: %v", cmd, err)
	}
	d.input = input
	read := make(chan struct{})
	go func() {
		defer close(read)
		d.read(output)
	}()
	t.Cleanup(func() {
		_ = input.Close()
		<-read
		if err := cmd.Wait(); err != nil {
			t.Errorf("%s: %v", cmd, err)
		}
	})
	return d
}

func (d *driver) read(output io.Reader) {
	lines := bufio.NewReader(output)
	for {
		line, err := lines.ReadBytes('\n')
		if err != nil {
			break
		}
		var said report
		if err := json.Unmarshal(line, &said); err != nil {
			os.Stderr.Write(line) // a library's own word
			continue
		}
		d.mu.Lock()
		if waiting, ok := d.waiting[said.ID]; ok {
			waiting <- said
			delete(d.waiting, said.ID)
		}
		d.mu.Unlock()
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.broken = true
	for _, waiting := range d.waiting {
		waiting <- report{Error: "the driver has ended"}
	}
}

// do runs a job, and returns when the client has ended.
func (d *driver) do(j job) report {
	line, _ := json.Marshal(j)
	said := make(chan report, 1)
	d.mu.Lock()
	if d.broken {
		said <- report{Error: "the driver has ended"}
	} else {
		d.waiting[j.ID] = said
		_, _ = d.input.Write(append(line, '\n'))
	}
	d.mu.Unlock()
	select {
	case r := <-said:
		return r
	case <-time.After(2*time.Duration(j.Patience)*time.Millisecond + 2*time.Minute):
		return report{Error: "the driver does not answer"}
	}
}
