// Package dial is the backend that connects to a socket.
package dial

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
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
	caddy.RegisterModule(new(Backend))
}

// Backend connects to a TCP or unix socket, with or without TLS. It can send a text first, such as a command or a login. Then it
// reads records. All options can have placeholders. {last_id} is the id of the last event.
type Backend struct {
	// The network address to connect to, with one port: host:port, tcp6/host:port, unix//path.
	Address string `json:"address"`

	// The text to send after connecting. \r, \n, \t, \\ and \xNN stand for bytes. \{ and \} stand for braces that do not
	// belong to a placeholder. Nothing is added, not even a line end. Default: nothing.
	Send string `json:"send,omitempty"`

	// Connect with TLS. The server's certificate is verified with the system's root certificates. Default: no TLS.
	TLS *TLS `json:"tls,omitempty"`

	// How long connecting may take, including TLS and sending the text. Default: 10s.
	DialTimeout caddy.Duration `json:"dial_timeout,omitempty"`

	address    argument.Argument
	send       argument.Argument
	serverName argument.Argument
}

// TLS holds the options for TLS.
type TLS struct {
	// The name that the server's certificate must have. Default: the host in the address.
	ServerName string `json:"server_name,omitempty"`
}

// CaddyModule returns the Caddy module information.
func (*Backend) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: backend.Namespace + ".dial", New: func() caddy.Module { return new(Backend) }}
}

// Provision compiles the options.
func (b *Backend) Provision(caddy.Context) error {
	directive.SetDefault(&b.DialTimeout, caddy.Duration(10*time.Second))
	return b.Compile()
}

// Compile checks and compiles the options. A Caddyfile is parsed with it, so that its errors name the file and the line.
func (b *Backend) Compile() (err error) {
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
	address, err := parseAddress(b.address.Text())
	if err != nil {
		return fmt.Errorf("dial: %w", err)
	}
	if b.TLS != nil && b.TLS.ServerName == "" && hostOf(address) == "" {
		return errNoServerName
	}
	return nil
}

var errNoServerName = errors.New("tls needs a server name, as the address has no host")

// hostOf returns the host in an address, or "" if it has none, such as that of a unix socket.
func hostOf(address caddy.NetworkAddress) string {
	if address.IsUnixNetwork() {
		return ""
	}
	return address.Host
}

func parseAddress(text string) (caddy.NetworkAddress, error) {
	return argument.ParseAddress(text, "tcp, tcp4, tcp6 or unix", "tcp", "tcp4", "tcp6", "unix")
}

// parseSend compiles the text to send. Each escaped character becomes a part of its own, so that it is not taken for the beginning
// or end of a placeholder.
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
			char = `\` + char // in a template, a literal brace
		}
		if err := add(char); err != nil {
			return argument.Argument{}, err
		}
		text = rest
	}
	return argument.Join(argument.Line, parts...), nil
}

// unescape returns the character for the escape at the beginning of text, after its backslash, and the rest of the text.
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
func (b *Backend) Bind(r *http.Request) (backend.Upstream, error) {
	bound, err := argument.List{b.address, b.send, b.serverName}.Bind(r)
	if err != nil {
		return nil, err
	}
	return &upstream{backend: b, address: bound[0], send: bound[1], serverName: bound[2]}, nil
}

// upstream is the server to connect to.
type upstream struct {
	backend                   *Backend
	address, send, serverName argument.Argument
}

func (u *upstream) Key() string {
	return backend.Key("dial", u.address.Key(), u.send.Key(), strconv.FormatBool(u.backend.TLS != nil), u.serverName.Key())
}

// Continues implements backend.Continuer.
func (u *upstream) Continues() bool {
	return argument.List{u.address, u.send, u.serverName}.UsesLastID()
}

func (u *upstream) Stream(ctx context.Context, lastID string, sink backend.Sink) error {
	given, err := argument.List{u.address, u.send, u.serverName}.Expand(lastID)
	if err != nil {
		return err
	}
	address, err := parseAddress(given[0])
	if err != nil {
		return fmt.Errorf("dial: %w", err)
	}
	deadline := time.Now().Add(time.Duration(u.backend.DialTimeout))
	dialer := net.Dialer{Deadline: deadline} // its TCP keep-alives detect a lost connection
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
	// Over TLS, an end without close_notify is reported only within a TLS record. crypto/tls reports no more.
	if err := backend.Copy(input, stream, backend.ReadSize); err != nil {
		return fmt.Errorf("reading from %s: %w", given[0], err)
	}
	return nil
}

// secure starts TLS on a connection.
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
func (b *Backend) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // consume backend name
	var err error
	if b.Address, err = directive.OneArg(d); err != nil {
		return err
	}
	if err := directive.Compiled(d, b.Compile); err != nil {
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
				b.TLS = &TLS{ServerName: given[0]}
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
	return directive.Compiled(d, b.Compile)
}

var (
	_ backend.Backend       = (*Backend)(nil)
	_ backend.Upstream      = (*upstream)(nil)
	_ caddy.Provisioner     = (*Backend)(nil)
	_ caddyfile.Unmarshaler = (*Backend)(nil)
)
