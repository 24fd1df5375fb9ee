// Goclients runs clients of Go. A line of standard input is a job as JSON, a line of standard output its report. It is a
// module of its own, so that these clients are none of the repository's dependencies.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"sync"
	"time"
)

type job struct {
	ID       int
	Client   string
	Base     string
	Path     string
	Events   int
	Ends     bool
	Patience time.Duration // in milliseconds
}

func (j job) url() string { return j.Base + j.Path }

func (j job) patience() time.Duration { return j.Patience * time.Millisecond }

type report struct {
	ID        int      `json:"id"`
	Shown     []string `json:"shown"`
	Error     string   `json:"error"`
	StaysAway bool     `json:"staysAway"`
}

var clients = map[string]func(job, *report) error{
	"openai":       readOpenAI,
	"openai-old":   readOldOpenAI,
	"mcp":          readMCP,
	"tmaxmax":      readTmaxmax,
	"r3labs":       readR3labs,
	"launchdarkly": readLaunchdarkly,
}

func main() {
	var running sync.WaitGroup
	var mu sync.Mutex
	out := json.NewEncoder(os.Stdout)
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		var j job
		if err := json.Unmarshal(lines.Bytes(), &j); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		running.Go(func() {
			r := &report{ID: j.ID}
			if err := clients[j.Client](j, r); err != nil {
				r.Error = err.Error()
			}
			mu.Lock()
			defer mu.Unlock()
			_ = out.Encode(r)
		})
	}
	running.Wait()
}

// A stream collects what the client of a stream shows.
type stream struct {
	job
	shown chan string // payloads
	gone  chan error  // the client has ended by itself
}

func newStream(j job) *stream {
	return &stream{job: j, shown: make(chan string), gone: make(chan error, 1)}
}

// show is for the client's events.
func (s *stream) show(name, data string) {
	if name != "" && name != "message" {
		return
	}
	var record struct{ P string }
	_ = json.Unmarshal([]byte(data), &record)
	s.shown <- record.P
}

// collect returns when the client has shown what it should, or ended, or shows nothing any more. Later events are
// thrown away.
func (s *stream) collect(r *report) (err error) {
	defer func() {
		go func() {
			for range s.shown {
			}
		}()
	}()
	timer := time.NewTimer(s.patience())
	for {
		select {
		case payload := <-s.shown:
			r.Shown = append(r.Shown, payload)
			if len(r.Shown) >= s.Events && !s.Ends {
				timer.Reset(300 * time.Millisecond) // there should be no more
			} else {
				timer.Reset(s.patience())
			}
		case err := <-s.gone:
			r.StaysAway = true
			if len(r.Shown) >= s.Events {
				return nil
			}
			return err
		case <-timer.C:
			if len(r.Shown) >= s.Events {
				return nil
			}
			return fmt.Errorf("nothing came")
		}
	}
}
