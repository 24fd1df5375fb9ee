// Command emitter is the benchmark's upstream. It sends records with a number and a time over HTTP/1.1 (chunked) and over TCP. Each
// connection gets its own stream, or all connections get one global feed.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"os/signal"
	"sync"
	"syscall"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "emitter:", err)
		os.Exit(1)
	}
}

func run() error {
	var s stream
	httpAddress := flag.String("http", "", "address to answer HTTP requests on, whatever their path")
	tcpAddress := flag.String("tcp", "", "address to write records on as soon as a connection is accepted")
	shared := flag.Bool("feed", false, "one feed for all connections, instead of a stream of its own for each")
	wait := flag.Bool("wait", false, "the feed stays silent until SIGUSR1, so that clients can connect to a server at rest")
	flag.Float64Var(&s.rate, "rate", 1, "records per second; 0: none, negative: as fast as the reader takes them")
	flag.IntVar(&s.burst, "burst", 1, "records per write")
	flag.IntVar(&s.size, "size", 200, "bytes per record, its line feed included")
	flag.BoolVar(&s.events, "events", false, "send ready-made Server-Sent Events over HTTP, instead of NDJSON")
	flag.Parse()
	switch {
	case *httpAddress == "" && *tcpAddress == "":
		return errors.New("give an address with -http or -tcp")
	case s.burst < 1:
		return errors.New("-burst must be at least 1")
	case *shared && s.rate < 0:
		return errors.New("a feed needs a -rate: at full speed its slowest reader would set the pace of all")
	}

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	send := s.emit
	if *shared {
		begin := make(chan os.Signal, 1)
		signal.Notify(begin, syscall.SIGUSR1)
		if !*wait {
			begin <- syscall.SIGUSR1
		}
		send = newFeed(ctx, s, begin).emit
	}

	var listeners []net.Listener
	var serving sync.WaitGroup
	listen := func(address string, serve func(net.Conn, sender)) error {
		if address == "" {
			return nil
		}
		l, err := net.Listen("tcp", address)
		if err != nil {
			return err
		}
		listeners = append(listeners, l)
		serving.Go(func() { accept(l, func(c net.Conn) { serve(c, send) }) })
		return nil
	}
	if err := listen(*tcpAddress, serveTCP); err != nil {
		return err
	}
	if err := listen(*httpAddress, func(c net.Conn, send sender) { serveHTTP(c, s.events, send) }); err != nil {
		return err
	}
	<-ctx.Done()
	for _, l := range listeners {
		l.Close()
	}
	serving.Wait()
	return nil
}

func accept(l net.Listener, serve func(net.Conn)) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer conn.Close()
			serve(conn)
		}()
	}
}
