package main

import (
	"compress/gzip"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"github.com/seed-4dedbcea/caddy-sse/bench/internal/record"
)

const size = 120

func line(n int64) string {
	b := record.New(size)
	record.Stamp(b, n, 1)
	return string(b)
}

func events(numbers ...int64) string {
	var b strings.Builder
	for _, n := range numbers {
		fmt.Fprintf(&b, "data: %s\n\n", line(n))
	}
	return b.String()
}

// read feeds a response to a client in pieces of random sizes.
func read(response string, e expect, seed uint64) (counters, error) {
	rnd := rand.New(rand.NewPCG(seed, 1))
	c := client{state: inHead}
	var sum counters
	for b := []byte(response); len(b) > 0; {
		n := 1 + rnd.IntN(min(len(b), 1+rnd.IntN(300)))
		piece := append([]byte(nil), b[:n]...)
		if _, err := c.receive(piece, 2, &e, &sum); err != nil {
			return sum, err
		}
		clear(piece) // what the client keeps it must have copied
		b = b[n:]
	}
	return sum, nil
}

const plainHead = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\n\r\n"

func chunked(body string, seed uint64) string {
	rnd := rand.New(rand.NewPCG(seed, 2))
	var b strings.Builder
	b.WriteString("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
	for body != "" {
		n := 1 + rnd.IntN(min(len(body), 500))
		fmt.Fprintf(&b, "%x\r\n%s\r\n", n, body[:n])
		body = body[n:]
	}
	return b.String()
}

func TestSwarmCountsWhatAClientMissedOrGotTwice(t *testing.T) {
	const f = record.First
	mapped := func(event, id string, n int64) string {
		return "id: " + id + "\nevent: " + event + "\ndata: " + line(n) + "\n\n"
	}
	tests := []struct {
		name   string
		expect expect
		body   string
		want   string
	}{
		{"in order", expect{}, events(f+7, f+8, f+9), "3 events"},
		{"one missing", expect{}, events(f, f+2), "2 events, 1 lost"},
		{"one twice", expect{}, events(f, f, f+1), "3 events, 1 doubled"},
		{"out of order", expect{}, events(f, f+2, f+1, f+3), "4 events, 1 lost, 1 doubled"},
		{"start missed", expect{fromFirst: true}, events(f+5, f+6), "2 events, 5 lost"},
		{"start joined late", expect{}, events(f+5, f+6), "2 events"},
		{"comments, retry and id-only blocks", expect{}, "retry: 1000\n\n: hello\n\nid: 7\n\n" + events(f), "1 events, 1 comments"},
		{"CRLF line ends", expect{}, strings.ReplaceAll(events(f, f+1), "\n", "\r\n"), "2 events"},
		{"byte order mark", expect{}, "\xEF\xBB\xBF" + events(f), "1 events"},
		{"gap told", expect{}, events(f) + "event: sse-gap\ndata: {\"reason\":\"lag\"}\n\n" + events(f+4), "2 events, 3 lost, 1 controls"},
		{"lone CR", expect{}, "data: a\rb\n\n" + events(f), "1 events, 1 bad"},
		{"record cut", expect{}, "data: " + line(f)[:60] + "\n\n", "0 events, 1 bad"},
		{"padding cut", expect{}, "data: " + strings.Replace(line(f), "x", "", 1) + "\n\n", "0 events, 1 bad"},
		{"two data lines", expect{}, "data: " + line(f) + "\ndata: " + line(f+1) + "\n\n", "1 events, 1 bad"},
		{"unknown field", expect{}, "dta: x\n" + events(f), "1 events, 1 bad"},
		{"event without its blank line", expect{}, events(f) + "data: " + line(f+1) + "\n", "1 events"},
		{"mapped", expect{mapped: true}, mapped("tick", fmt.Sprint(f), f) + mapped("tick", fmt.Sprint(f+1), f+1), "2 events"},
		{"mapped to another id", expect{mapped: true}, mapped("tick", fmt.Sprint(f+1), f), "1 events, 1 bad"},
		{"mapped to another event", expect{mapped: true}, mapped("tock", fmt.Sprint(f), f), "1 events, 1 bad"},
		{"not mapped", expect{mapped: true}, events(f), "1 events, 1 bad"},
		{"NDJSON", expect{ndjson: true}, line(f) + "\n\n" + line(f+1) + "\n" + line(f+3) + "\n", "3 events, 1 lost"},
		{"NDJSON that is SSE", expect{ndjson: true}, events(f), "0 events, 1 bad"},
	}
	for _, test := range tests {
		test.expect.size = size
		for seed := range uint64(50) {
			for _, response := range []string{plainHead + test.body, chunked(test.body, seed)} {
				sum, err := read(response, test.expect, seed)
				if err != nil {
					t.Fatalf("%s: %v", test.name, err)
				}
				got := fmt.Sprintf("%d events", sum.Events)
				for _, c := range []struct {
					n    uint64
					name string
				}{{sum.Lost, "lost"}, {sum.Doubled, "doubled"}, {sum.Bad, "bad"}, {sum.Controls, "controls"}, {sum.Comments, "comments"}} {
					if c.n > 0 {
						got += fmt.Sprintf(", %d %s", c.n, c.name)
					}
				}
				if got != test.want {
					t.Fatalf("%s, pieces %d: %s, want %s", test.name, seed, got, test.want)
				}
			}
		}
	}
}

func TestSwarmDecodesAsBytesArrive(t *testing.T) {
	const f = record.First
	for coding, flush := range map[string]func(io.Writer) flusher{
		"gzip": func(w io.Writer) flusher { return gzip.NewWriter(w) },
		"zstd": func(w io.Writer) flusher { z, _ := zstd.NewWriter(w, zstd.WithEncoderConcurrency(1)); return z },
	} {
		var body strings.Builder
		w := flush(&body)
		for n := range int64(100) {
			fmt.Fprint(w, events(f+n))
			w.Flush() // and no end of the coding
		}
		response := strings.Replace(plainHead, "\r\n", "\r\nContent-Encoding: "+coding+"\r\n", 1) + body.String()
		for seed := range uint64(10) {
			if sum, err := read(response, expect{size: size, coding: coding}, seed); err != nil || sum.Events != 100 || sum.Bad+sum.Lost+sum.Doubled > 0 {
				t.Errorf("%s: %+v, %v", coding, sum.Events, err)
			}
		}
		if _, err := read(response, expect{size: size}, 1); err == nil {
			t.Errorf("%s is accepted, though it was not asked for", coding)
		}
	}
}

type flusher interface {
	io.Writer
	Flush() error
}

func TestSwarmRefusesResponsesThatAreNoStream(t *testing.T) {
	tests := map[string]string{
		"not found":     "HTTP/1.1 404 Not Found\r\nContent-Type: text/event-stream\r\n\r\n",
		"other type":    "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n",
		"fixed length":  "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: 5\r\n\r\n",
		"endless head":  "HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", 2*maxHead),
		"chunk overrun": "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n\nX",
		"ended":         "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
	}
	for name, response := range tests {
		for seed := range uint64(20) {
			if _, err := read(response, expect{size: size}, seed); err == nil {
				t.Errorf("%s: accepted", name)
			}
		}
	}
}

func BenchmarkEvent(b *testing.B) {
	l := record.New(200)
	record.Stamp(l, record.First, 1)
	piece := fmt.Appendf(nil, "data: %s\n\n", l)
	e, sum := expect{size: 200}, counters{}
	p := parser{}
	for b.Loop() {
		p.last = 0
		p.feed(piece, 2, &e, &sum)
	}
	if sum.Bad > 0 || sum.Lost > 0 {
		b.Fatal(sum)
	}
}
