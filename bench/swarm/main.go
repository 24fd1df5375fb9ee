// Command swarm runs the benchmark's clients: any number of them over HTTP/1.1, in one goroutine with epoll. It checks the number of
// each record for each client, and measures the time from sending a record to its arrival. It also reports its own CPU time, because
// a client that is slower than the server would measure itself.
//
// It prints one JSON object per line: {"phase":"connected"} when all clients have a response, "start" and "end" of the measured
// window, and the result.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"net/netip"
	"net/url"
	"os"
	"time"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "swarm:", err)
		os.Exit(1)
	}
}

func run() error {
	var s swarm
	format := flag.String("format", "sse", "what the server sends: sse or ndjson")
	flag.IntVar(&s.clients, "clients", 1, "number of clients")
	flag.Float64Var(&s.connectRate, "connect-rate", 2000, "connections opened per second")
	flag.DurationVar(&s.connectTimeout, "connect-timeout", time.Minute, "all clients must have a response after this")
	flag.DurationVar(&s.warmUp, "warm-up", 2*time.Second, "time before the measured window; what arrives is checked, but not counted")
	flag.DurationVar(&s.duration, "duration", 10*time.Second, "the measured window")
	flag.IntVar(&s.expect.size, "size", 200, "bytes per record, its line feed included, as the emitter has it")
	flag.BoolVar(&s.expect.mapped, "mapped", false, "each event must have its record's type and number as event and id")
	flag.BoolVar(&s.expect.fromFirst, "from-first", false, "the first record each client gets must be the stream's first")
	flag.StringVar(&s.expect.coding, "coding", "", "the content coding that clients accept, and must get: zstd or gzip")
	flag.Parse()
	if flag.NArg() != 1 {
		return fmt.Errorf("usage: swarm [flags] http://<ip>:<port>/<path>")
	}
	target, err := url.Parse(flag.Arg(0))
	if err != nil {
		return err
	}
	if s.server, err = netip.ParseAddrPort(target.Host); err != nil {
		return fmt.Errorf("the address must be an IPv4 address and a port: %w", err)
	}
	accept := "text/event-stream"
	if s.expect.ndjson = *format == "ndjson"; s.expect.ndjson {
		accept = "application/x-ndjson"
	}
	s.request = fmt.Appendf(nil, "GET %s HTTP/1.1\r\nHost: %s\r\nAccept: %s\r\n", target.RequestURI(), target.Host, accept)
	if s.expect.coding != "" {
		s.request = fmt.Appendf(s.request, "Accept-Encoding: %s\r\n", s.expect.coding)
	}
	s.request = append(s.request, "\r\n"...)

	out := json.NewEncoder(os.Stdout)
	s.report = func(phase string) error { return out.Encode(map[string]string{"phase": phase}) }
	result, err := s.run()
	if err != nil {
		return err
	}
	return out.Encode(result)
}
