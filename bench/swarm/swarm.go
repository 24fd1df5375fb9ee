package main

import (
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// swarm is a number of clients and their state.
type swarm struct {
	options

	epoll    int
	conns    []client
	buffer   []byte
	open     int // clients that have a response
	opening  int // connections and requests in progress
	closed   int // clients whose response ended or broke
	closeErr error
	sum      counters
}

// options are the options of the command.
type options struct {
	server         netip.AddrPort
	request        []byte
	clients        int
	connectRate    float64
	connectTimeout time.Duration
	warmUp         time.Duration
	duration       time.Duration
	expect         expect
	report         func(phase string) error
}

// result is the result for the measured window. The checks (lost, doubled, bad, controls, closed) include the warm-up.
type result struct {
	Phase    string  `json:"phase"` // "result"
	Clients  int     `json:"clients"`
	Seconds  float64 `json:"seconds"`
	counters         // of the window
	Closed   int     `json:"closed"`
	CloseErr string  `json:"close_error,omitempty"`
	// Behind is the difference, at the end, between the most and the least records that a client has received.
	Behind     int64   `json:"behind"`
	EventsPerS float64 `json:"events_per_s"`
	MBPerS     float64 `json:"mb_per_s"`
	P50        float64 `json:"p50_ms"`
	P99        float64 `json:"p99_ms"`
	Max        float64 `json:"max_ms"`
	CPU        float64 `json:"cpu_s"` // of the swarm itself, user and system
}

const (
	readSize     = 256 << 10
	maxOpening   = 128
	portsPerHost = 10_000 // clients per source address
	tick         = 5      // milliseconds that epoll waits at most
)

func (s *swarm) run() (*result, error) {
	if err := s.prepare(); err != nil {
		return nil, err
	}
	if err := s.connect(); err != nil {
		return nil, err
	}
	if err := s.report("connected"); err != nil {
		return nil, err
	}
	if err := s.pump(s.warmUp); err != nil {
		return nil, err
	}

	warm := s.sum
	s.sum = counters{}
	cpu := ownCPU()
	if err := s.report("start"); err != nil {
		return nil, err
	}
	began := time.Now()
	if err := s.pump(s.duration); err != nil {
		return nil, err
	}
	seconds := time.Since(began).Seconds()
	cpu = ownCPU() - cpu
	if err := s.report("end"); err != nil {
		return nil, err
	}

	r := &result{Phase: "result", Clients: s.clients, Seconds: seconds, counters: s.sum, Closed: s.closed, CPU: cpu.Seconds()}
	r.Lost += warm.Lost
	r.Doubled += warm.Doubled
	r.Bad += warm.Bad
	r.Controls += warm.Controls
	if s.closeErr != nil {
		r.CloseErr = s.closeErr.Error()
	}
	r.Behind = s.behind()
	r.EventsPerS = float64(s.sum.Events) / seconds
	r.MBPerS = float64(s.sum.Bytes) / seconds / 1e6
	r.P50 = milliseconds(s.sum.latency.Quantile(0.50))
	r.P99 = milliseconds(s.sum.latency.Quantile(0.99))
	r.Max = milliseconds(s.sum.latency.Max())
	return r, nil
}

// prepare raises the limit of open files, and creates the things that all clients share.
func (s *swarm) prepare() error {
	need := uint64(s.clients + 64)
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return err
	}
	if limit.Cur < need {
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: need, Max: max(need, limit.Max)}); err != nil {
			return fmt.Errorf("%d clients need %d open files, but the limit is %d: raise it with `ulimit -n`: %w", s.clients, need, limit.Cur, err)
		}
	}
	var err error
	if s.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return err
	}
	s.conns = make([]client, s.clients)
	s.buffer = make([]byte, readSize)
	runtime.LockOSThread()
	return nil
}

// connect opens all connections gradually. It returns when each client has the header section of its response.
func (s *swarm) connect() error {
	began := time.Now()
	for next := 0; s.open < s.clients; {
		if time.Since(began) > s.connectTimeout {
			return fmt.Errorf("only %d of %d clients have a response after %v", s.open, s.clients, s.connectTimeout)
		}
		due := min(s.clients, 1+int(time.Since(began).Seconds()*s.connectRate))
		for ; next < due && s.opening < maxOpening; next++ {
			if err := s.dial(next); err != nil {
				return fmt.Errorf("connecting client %d: %w", next, err)
			}
		}
		if err := s.poll(1); err != nil {
			return err
		}
		if s.closed > 0 {
			return fmt.Errorf("a client was cut off while the others connected: %w", s.closeErr)
		}
	}
	return nil
}

// dial starts a connection. All addresses in 127.0.0.0/8 are this machine: when the ports of one address are used up, clients use the
// next address.
func (s *swarm) dial(i int) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	c := &s.conns[i]
	c.fd = fd
	if s.server.Addr().IsLoopback() {
		if err := unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1); err != nil {
			return err
		}
		if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, byte(2 + i/portsPerHost)}}); err != nil {
			return err
		}
	}
	err = unix.Connect(fd, &unix.SockaddrInet4{Port: int(s.server.Port()), Addr: s.server.Addr().As4()})
	if err != nil && !errors.Is(err, unix.EINPROGRESS) {
		return err
	}
	s.opening++
	return unix.EpollCtl(s.epoll, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLOUT, Fd: int32(i)})
}

// pump serves the clients for d.
func (s *swarm) pump(d time.Duration) error {
	for end := time.Now().Add(d); time.Now().Before(end); {
		if err := s.poll(tick); err != nil {
			return err
		}
	}
	return nil
}

// poll waits for the given number of milliseconds at most, and serves the clients that are ready.
func (s *swarm) poll(wait int) error {
	var events [512]unix.EpollEvent
	n, err := unix.EpollWait(s.epoll, events[:], wait)
	if err != nil && !errors.Is(err, unix.EINTR) {
		return err
	}
	for _, e := range events[:max(n, 0)] {
		c := &s.conns[e.Fd]
		if err := s.serve(c, e); err != nil {
			unix.Close(c.fd)
			c.state = closed
			s.closed++
			if s.closeErr == nil {
				s.closeErr = err
			}
		}
	}
	return nil
}

func (s *swarm) serve(c *client, e unix.EpollEvent) error {
	if c.state == connecting {
		code, err := unix.GetsockoptInt(c.fd, unix.SOL_SOCKET, unix.SO_ERROR)
		if err != nil {
			return err
		}
		if code != 0 {
			return syscall.Errno(code)
		}
		if _, err := unix.Write(c.fd, s.request); err != nil {
			return err
		}
		c.state = inHead
		return unix.EpollCtl(s.epoll, unix.EPOLL_CTL_MOD, c.fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: e.Fd})
	}

	// The socket never blocks, so a raw system call is enough.
	n, _, errno := unix.RawSyscall(unix.SYS_READ, uintptr(c.fd), uintptr(unsafe.Pointer(&s.buffer[0])), readSize)
	switch {
	case errno == unix.EAGAIN || errno == unix.EINTR:
		return nil
	case errno != 0:
		return errno
	case n == 0:
		return errEnd
	}
	s.sum.Bytes += uint64(n)
	s.sum.Reads++
	opened, err := c.receive(s.buffer[:n], time.Now().UnixNano(), &s.expect, &s.sum)
	if opened {
		s.open++
		s.opening--
	}
	return err
}

func (s *swarm) behind() int64 {
	var first, last int64
	for i := range s.conns {
		n := s.conns[i].parser.last
		if i == 0 {
			first, last = n, n
		}
		first, last = min(first, n), max(last, n)
	}
	return last - first
}

func ownCPU() time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func milliseconds(d time.Duration) float64 { return float64(d) / 1e6 }
