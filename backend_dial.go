package sse

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/seed-4dedbcea/caddy-sse/backend"
	"github.com/seed-4dedbcea/caddy-sse/internal/caddykit/argument"
	"github.com/seed-4dedbcea/caddy-sse/internal/caddykit/directive"
)

func init() {
	caddy.RegisterModule(new(DialBackend))
}

// DialBackend connects to a TCP or unix socket, with TLS if wanted, says what the server there has to hear first,
// and takes what it says from then on. All options take placeholders; {last_id} is the id of the last event.
type DialBackend struct {
	// The network address to connect to, with one port: host:port, tcp6/host:port, unix//path.
	Address string `json:"address"`

	// What is sent when the connection is there. \r, \n, \t, \\ and \xNN stand for bytes; \{ and \} for braces that
	// are no placeholder's. Nothing is added, no line end either. Default: nothing.
	Send string `json:"send,omitempty"`

	// Makes it a TLS connection. The roots that the server's certificate is verified with are the system's.
	// Default: no TLS.
	TLS *DialTLS `json:"tls,omitempty"`

	// How long it may take until the connection is there, TLS and what is sent included. Default: 10s.
	DialTimeout caddy.Duration `json:"dial_timeout,omitempty"`

	address    argument.Argument
	send       argument.Argument
	serverName argument.Argument
}

// DialTLS is how DialBackend speaks TLS.
type DialTLS struct {
	// The name that the server's certificate has to be for. Default: the host of the address.
	ServerName string `json:"server_name,omitempty"`
}

// CaddyModule returns the Caddy module information.
func (*DialBackend) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: backendNamespace + ".dial", New: func() caddy.Module { return new(DialBackend) }}
}

// Provision compiles the options.
func (b *DialBackend) Provision(caddy.Context) error {
	directive.SetDefault(&b.DialTimeout, caddy.Duration(10*time.Second))
	return b.compile()
}

func (b *DialBackend) compile() (err error) {
	if b.DialTimeout < 0 {
		return errors.New("dial_timeout must be above zero")
	}
	if b.address, err = argument.Parse(b.Address, argument.Host); err != nil {
		return fmt.Errorf("dial: %w", err)
	}
	if b.send, err = parseSend(b.Send); err != nil {
		return fmt.Errorf("send: %w", err)
	}
	if b.TLS != nil {
		if b.serverName, err = argument.Parse(b.TLS.ServerName, argument.Text); err != nil {
			return fmt.Errorf("tls: %w", err)
		}
	}
	if !b.address.IsFixed() {
		return nil
	}
	address, err := parseDialAddress(b.address.Text())
	if err != nil {
		return fmt.Errorf("dial: %w", err)
	}
	if b.TLS != nil && b.TLS.ServerName == "" && hostOf(address) == "" {
		return errNoServerName
	}
	return nil
}

var errNoServerName = errors.New("tls needs a server name, as the address has no host")

// hostOf is the host of an address, empty if it has none, as that of a unix socket.
func hostOf(address caddy.NetworkAddress) string {
	if address.IsUnixNetwork() {
		return ""
	}
	return address.Host
}

// parseDialAddress parses an address that leads to precisely one stream socket.
func parseDialAddress(text string) (caddy.NetworkAddress, error) {
	address, err := parseNetworkAddress(text)
	if err != nil {
		return address, err
	}
	switch {
	case !slices.Contains([]string{"tcp", "tcp4", "tcp6", "unix"}, address.Network):
		return address, fmt.Errorf("network of %q must be tcp, tcp4, tcp6 or unix, not %s", text, address.Network)
	case !address.IsUnixNetwork() && (address.StartPort == 0 || address.PortRangeSize() != 1):
		return address, fmt.Errorf("%q must have one port", text)
	case address.IsUnixNetwork() && address.Host == "":
		return address, fmt.Errorf("%q must have the path of a socket", text)
	}
	return address, nil
}

// parseNetworkAddress parses an address. A URL, which may hold a password, is refused without a word of it.
func parseNetworkAddress(text string) (caddy.NetworkAddress, error) {
	if strings.Contains(text, "://") {
		return caddy.NetworkAddress{}, errors.New("must be a network address such as host:port, not a URL: backend http takes URLs")
	}
	return caddy.ParseNetworkAddress(text)
}

// parseSend compiles the bytes to be sent. Each escaped character is a part of its own, so that it is never taken for the
// beginning or end of a placeholder.
func parseSend(text string) (argument.Argument, error) {
	var parts []argument.Argument
	add := func(text string) error {
		part, err := argument.Parse(text, argument.Line)
		parts = append(parts, part)
		return err
	}
	for text != "" {
		before, after, escaped := strings.Cut(text, `\`)
		if before != "" {
			if err := add(before); err != nil {
				return argument.Argument{}, err
			}
		}
		if !escaped {
			break
		}
		char, rest, err := unescape(after)
		if err != nil {
			return argument.Argument{}, err
		}
		if strings.Contains("{}", char) {
			char = `\` + char // a brace that is text, in a template
		}
		if err := add(char); err != nil {
			return argument.Argument{}, err
		}
		text = rest
	}
	return argument.Join(argument.Line, parts...), nil
}

// unescape takes what a backslash makes of the text after it.
func unescape(text string) (char, rest string, err error) {
	if text == "" {
		return "", "", errors.New(`write \\ for a backslash at the end`)
	}
	rest = text[1:]
	switch text[0] {
	case 'r':
		return "\r", rest, nil
	case 'n':
		return "\n", rest, nil
	case 't':
		return "\t", rest, nil
	case '\\', '{', '}':
		return text[:1], rest, nil
	case 'x':
		if len(text) >= 3 {
			if b, err := strconv.ParseUint(text[1:3], 16, 8); err == nil {
				return string([]byte{byte(b)}), text[3:], nil
			}
		}
		return "", "", errors.New(`\x must be followed by two hexadecimal digits`)
	}
	return "", "", fmt.Errorf(`unknown escape \%c: use \r, \n, \t, \\ or \xNN`, []rune(text)[0])
}

// Bind expands the request's placeholders.
func (b *DialBackend) Bind(r *http.Request) (Upstream, error) {
	bound, err := argument.List{b.address, b.send, b.serverName}.Bind(r)
	if err != nil {
		return nil, err
	}
	return &dialUpstream{backend: b, address: bound[0], send: bound[1], serverName: bound[2]}, nil
}

// dialUpstream is a server to connect to.
type dialUpstream struct {
	backend                   *DialBackend
	address, send, serverName argument.Argument
}

func (u *dialUpstream) Key() string {
	return Key("dial", u.address.Key(), u.send.Key(), strconv.FormatBool(u.backend.TLS != nil), u.serverName.Key())
}

func (u *dialUpstream) Stream(ctx context.Context, lastID string, sink Sink) error {
	given, err := argument.List{u.address, u.send, u.serverName}.Expand(lastID)
	if err != nil {
		return err
	}
	address, err := parseDialAddress(given[0])
	if err != nil {
		return fmt.Errorf("dial: %w", err)
	}
	deadline := time.Now().Add(time.Duration(u.backend.DialTimeout))
	dialer := net.Dialer{Deadline: deadline} // its TCP keep-alive notices a peer that is gone
	conn, err := dialer.DialContext(ctx, address.Network, address.JoinHostPort(0))
	if err != nil {
		return fmt.Errorf("connecting: %w", err)
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	if err := conn.SetDeadline(deadline); err != nil {
		return fmt.Errorf("connecting: %w", err)
	}
	stream := conn
	if u.backend.TLS != nil {
		if stream, err = secure(ctx, conn, address, given[2]); err != nil {
			return err
		}
	}
	if given[1] != "" {
		if _, err := io.WriteString(stream, given[1]); err != nil {
			return fmt.Errorf("sending: %w", err)
		}
	}
	if err := conn.SetDeadline(time.Time{}); err != nil {
		return fmt.Errorf("connecting: %w", err)
	}

	input, err := sink.Open("")
	if err != nil {
		return err
	}
	// Over TLS, an end without close_notify is a failure only within a TLS record: more crypto/tls does not tell.
	if err := backend.Copy(input, stream, backend.ReadSize); err != nil {
		return fmt.Errorf("reading from %s: %w", given[0], err)
	}
	return nil
}

// secure makes a TLS connection of one that is there.
func secure(ctx context.Context, conn net.Conn, address caddy.NetworkAddress, serverName string) (net.Conn, error) {
	if serverName == "" {
		serverName = hostOf(address)
	}
	if serverName == "" {
		return nil, errNoServerName
	}
	secured := tls.Client(conn, &tls.Config{ServerName: serverName})
	if err := secured.HandshakeContext(ctx); err != nil {
		return nil, fmt.Errorf("connecting by TLS: %w", err)
	}
	return secured, nil
}

// UnmarshalCaddyfile sets up the backend from Caddyfile tokens. Syntax:
//
//	backend dial <network address> {
//	    send         <text>
//	    tls          [<server name>]
//	    dial_timeout <duration>
//	}
func (b *DialBackend) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // consume backend name
	var err error
	if b.Address, err = directive.OneArg(d); err != nil {
		return err
	}
	if err := directive.Compiled(d, b.compile); err != nil {
		return err
	}
	seen := make(directive.Seen)
	for d.NextBlock(0) {
		if err := seen.Add(d); err != nil {
			return err
		}
		switch d.Val() {
		case "send":
			b.Send, err = directive.Checked(d, func(text string) error { _, err := parseSend(text); return err })
		case "tls":
			var given []string
			if given, err = directive.Args(d, 0, 1); err == nil {
				b.TLS = &DialTLS{ServerName: given[0]}
			}
		case "dial_timeout":
			b.DialTimeout, err = directive.Duration(d)
		default:
			err = d.Errf("unrecognized subdirective %q of backend dial", d.Val())
		}
		if err != nil {
			return err
		}
	}
	return directive.Compiled(d, b.compile)
}

var (
	_ Backend               = (*DialBackend)(nil)
	_ Upstream              = (*dialUpstream)(nil)
	_ caddy.Provisioner     = (*DialBackend)(nil)
	_ caddyfile.Unmarshaler = (*DialBackend)(nil)
)
