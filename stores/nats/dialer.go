package nats

import (
	"context"
	"net"
)

// dialer makes connections that end with a context, so that closing does not wait for a server that is silent.
type dialer struct {
	ctx    context.Context
	failed error // of the last attempt
}

// Dial implements nats.CustomDialer.
func (d *dialer) Dial(network, address string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(d.ctx, timeout)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, network, address)
	if d.failed = err; err != nil {
		return nil, err
	}
	ended := &endedConn{Conn: conn}
	ended.stop = context.AfterFunc(d.ctx, func() { conn.Close() })
	return ended, nil
}

// endedConn is a connection that no longer waits for a context once it is closed.
type endedConn struct {
	net.Conn
	stop func() bool
}

func (c *endedConn) Close() error {
	c.stop()
	return c.Conn.Close()
}
