package main

import (
	"fmt"
	"time"
)

// scenario is a load, and the servers that are measured with it.
type scenario struct {
	name    string
	clients int
	feed    bool    // one stream for all clients, instead of one each
	rate    float64 // records per second of a stream; 0: none, negative: full speed
	burst   int     // records per write
	size    int     // bytes per record
	warmUp  time.Duration
	servers []string
}

// offered returns the number of records per second that all clients together should get, or 0 if there is no such number.
func (s scenario) offered() float64 {
	return max(s.rate, 0) * float64(s.clients)
}

// The scenarios and servers in the bars.
const (
	fullSpeed = "one stream at full speed"
	streams   = "200 streams of 100/s"
	shared1k  = "1,000 clients of 50/s"
	shared5k  = "5,000 clients of 50/s"
	shared5kx = "5,000 clients of 100/s"
	idle      = "5,000 idle clients"
	coded20   = "1,000 clients of 20/s, compressed"
	coded50   = "1,000 clients of 50/s, compressed"
	coded5k   = "5,000 clients of 50/s, compressed"
	codedIdle = "1,000 idle clients, compressed"

	ours        = "caddy-sse"
	oursMapped  = "caddy-sse, event and id mapped"
	oursBackend = "caddy-sse, backend http"
	oursShared  = "caddy-sse, shared"
	oursZstd    = "caddy-sse, compress zstd"
	oursGzip    = "caddy-sse, compress gzip"
	encodeZstd  = "caddy-sse under encode zstd"
	encodeGzip  = "caddy-sse under encode gzip"
	passSSE     = "Caddy passing SSE"
	passNDJSON  = "Caddy passing NDJSON"
	nginx       = "nginx passing SSE"
	nodeProxy   = "Node proxy"
	quart       = "Quart"
	nchan       = "nchan"
	channels    = "Caddy with channels"
	nodeHub     = "Node hub"
	mercureHub  = "Mercure"
	goSSE       = "go-sse"
	r3labs      = "r3labs/sse"
)

var (
	proxies = []string{passSSE, passNDJSON, ours, oursMapped, oursBackend, nginx, nodeProxy, quart}
	hubs    = []string{oursShared, nchan, channels, nodeHub, mercureHub, goSSE, r3labs}

	// coded are our servers with and without compression.
	coded = []string{oursShared, oursZstd, oursGzip, encodeZstd, encodeGzip}

	// growthClients get growthRates[0] records per second, and growthRates go
	// to growthClients[0].
	growthClients = []int{1000, 2000, 5000, 10_000}
	growthRates   = []float64{10, 30, 100, 300, 1000}
)

var scenarios = append([]scenario{
	{fullSpeed, 1, false, -1, 64, 200, 2 * time.Second, proxies},
	{streams, 200, false, 100, 1, 200, 2 * time.Second, proxies},
	{shared1k, 1000, true, 50, 1, 200, 2 * time.Second, hubs},
	{shared5k, 5000, true, 50, 1, 200, 3 * time.Second, hubs},
	{shared5kx, 5000, true, 100, 1, 200, 3 * time.Second, hubs},
	// Long enough for two heartbeats to each client.
	{idle, 5000, true, 0, 1, 200, 12 * time.Second, hubs},
	{coded20, 1000, true, 20, 1, 200, 3 * time.Second, coded},
	{coded50, 1000, true, 50, 1, 200, 3 * time.Second, coded},
	{codedIdle, 1000, true, 0, 1, 200, 12 * time.Second, coded},
	{coded5k, 5000, true, 50, 1, 200, 5 * time.Second, coded[:3]}, // without encode, which would take gigabytes for so many clients
}, growth()...)

func growthName(clients int, rate float64) string {
	return fmt.Sprintf("growth: %s clients of %g/s", thousands(float64(clients)), rate)
}

func growth() []scenario {
	var all []scenario
	add := func(clients int, rate float64) {
		all = append(all, scenario{growthName(clients, rate), clients, true, rate, 1, 200, 3 * time.Second, []string{oursShared, nchan, channels}})
	}
	for _, clients := range growthClients {
		add(clients, growthRates[0])
	}
	for _, rate := range growthRates[1:] {
		add(growthClients[0], rate)
	}
	return all
}
