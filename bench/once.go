package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

// place holds the addresses and the folder of one run.
type place struct {
	dir      string
	listen   string // address of the server under test
	http     string // address of the emitter's HTTP side
	tcp      string // address of the emitter's TCP side
	scenario scenario
}

func (p place) port(address string) string {
	_, port, _ := net.SplitHostPort(address)
	return port
}

// file writes a configuration file and returns its path.
func (p place) file(name, content string) (string, error) {
	path := filepath.Join(p.dir, name)
	return path, os.WriteFile(path, []byte(content), 0o644)
}

// once starts emitter, server and swarm, and measures. When it returns, none of them is running any more.
func (b *bench) once(ctx context.Context, k *kit, p pair) (m measurement, err error) {
	limit := b.duration + p.scenario.warmUp + 3*time.Minute
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("not done after %v", limit))
	defer cancel()

	at := place{scenario: p.scenario}
	if at.dir, err = os.MkdirTemp(k.dir, "run"); err != nil {
		return m, err
	}
	defer os.RemoveAll(at.dir)
	if err = os.Chmod(at.dir, 0o755); err != nil { // the workers of nginx run as another user
		return m, err
	}
	for _, address := range []*string{&at.listen, &at.http, &at.tcp} {
		if *address, err = freeAddress(); err != nil {
			return m, err
		}
	}

	sc := p.scenario
	emitter, err := start(at.dir, "emitter", k.path("emitter"),
		"-http", at.http, "-tcp", at.tcp, "-feed="+strconv.FormatBool(sc.feed), "-wait", "-events="+strconv.FormatBool(p.server.takesEvents),
		"-rate", fmt.Sprint(sc.rate), "-burst", strconv.Itoa(sc.burst), "-size", strconv.Itoa(sc.size))
	if err != nil {
		return m, err
	}
	defer emitter.stop()
	if err = emitter.ready(ctx, at.http); err != nil {
		return m, err
	}

	command, err := p.server.command(k, at)
	if err != nil {
		return m, err
	}
	server, err := start(at.dir, "server", command...)
	if err != nil {
		return m, err
	}
	defer server.stop()
	if err = server.ready(ctx, at.listen); err != nil {
		return m, err
	}
	if p.server.helper != nil {
		helper, err := start(at.dir, "helper", p.server.helper(k, at)...)
		if err != nil {
			return m, err
		}
		defer helper.stop()
	}
	time.Sleep(500 * time.Millisecond) // the work of a server right after its start is not a cost of the clients
	before := server.memory()

	format := "sse"
	if p.server.passesNDJSON {
		format = "ndjson"
	}
	swarm, err := start(at.dir, "swarm", k.path("swarm"),
		"-format", format, "-clients", strconv.Itoa(sc.clients), "-size", strconv.Itoa(sc.size),
		"-mapped="+strconv.FormatBool(p.server.mapped), "-from-first="+strconv.FormatBool(!sc.feed),
		"-coding", p.server.coding, "-warm-up", sc.warmUp.String(), "-duration", b.duration.String(),
		"http://"+at.listen+p.server.path)
	if err != nil {
		return m, err
	}
	defer swarm.stop()
	defer context.AfterFunc(ctx, swarm.stop)()

	var cpu, emitterCPU, machineCPU time.Duration
	for lines := bufio.NewScanner(swarm.stdout); lines.Scan(); {
		if err = json.Unmarshal(lines.Bytes(), &m.Swarm); err != nil {
			return m, fmt.Errorf("the swarm's report: %w", err)
		}
		switch m.Swarm.Phase {
		case "connected":
			// A busy hub may never accept the last clients.
			emitter.begin()
		case "start":
			m.Memory = float64(server.memory()-before) / float64(sc.clients)
			cpu, emitterCPU, machineCPU = server.cpu(), emitter.cpu(), busy()
		case "end":
			m.ServerCPU = (server.cpu() - cpu).Seconds()
			m.EmitterCPU = (emitter.cpu() - emitterCPU).Seconds()
			machineCPU = busy() - machineCPU
		case "result":
			m.OtherCPU = max(0, machineCPU.Seconds()-m.ServerCPU-m.EmitterCPU-m.Swarm.CPU)
			return m, nil
		}
	}
	if ctx.Err() != nil {
		return m, context.Cause(ctx)
	}
	return m, errors.Join(fmt.Errorf("the swarm gave up: %s", swarm.log()), server.logged())
}

func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}
