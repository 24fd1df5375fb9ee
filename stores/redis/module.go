package redis

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"github.com/caddyserver/caddy/v2"

	"github.com/seed-4dedbcea/caddy-sse/store"
	"github.com/seed-4dedbcea/caddy-sse/store/storeoptions"
)

func init() {
	caddy.RegisterModule(new(Store))
}

// Store keeps the history of sources in Redis Streams. It needs Redis 6.2 or newer, or Valkey, and a server that is not a
// cluster. The package's documentation says what Redis promises less than NATS, and which rights its user needs.
type Store struct {
	// The server: redis://[<user>:<password>@]<host>[:<port>][/<database>], rediss:// for TLS, or
	// unix://[<user>:<password>@]<path>[?db=<database>]. Placeholders of the server, such as {env.X}, are expanded.
	URL string `json:"url"`

	// The prefix of all keys and channels, without the colon that follows it. Default: sse.
	Prefix string `json:"prefix,omitempty"`

	storeoptions.Options

	client *redis.Options
	key    string
}

// CaddyModule returns the Caddy module information.
func (*Store) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.sse.stores.redis", New: func() caddy.Module { return new(Store) }}
}

// Provision checks the options and reads the files that they name.
func (s *Store) Provision(caddy.Context) error {
	if s.Prefix == "" {
		s.Prefix = "sse"
	}
	if err := s.Validate(); err != nil {
		return err
	}
	address, err := caddy.NewReplacer().ReplaceOrErr(s.URL, true, true)
	if err != nil {
		return fmt.Errorf("url: %w", err)
	}
	if s.client, err = clientOptions(address); err != nil {
		return err
	}
	digest := ""
	if s.TLS != nil {
		if s.client.TLSConfig == nil {
			return errors.New("tls: the URL must begin with rediss://")
		}
		host := s.client.TLSConfig.ServerName
		if s.client.TLSConfig, digest, err = s.TLS.Load(); err != nil {
			return err
		}
		if s.TLS.ServerName == "" {
			s.client.TLSConfig.ServerName = host
		}
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "%q %q %q %v", address, s.Prefix, digest, s.Settings()))
	s.key = "redis " + hex.EncodeToString(sum[:])
	return nil
}

// errURL does not repeat the URL, which may hold a password.
var errURL = errors.New("url: it must be redis://[<user>:<password>@]<host>[:<port>][/<database>], rediss:// for TLS, or unix://<path>; " +
	"a character with a meaning in URLs, such as @ in a password, is written as its %XX")

// timeout is how long the server may take for one answer. By default, go-redis waits 5 s and retries, which would take
// longer than a leader's lease.
const timeout = 2 * time.Second

// clientOptions returns the options of a client for the server with that URL.
func clientOptions(address string) (*redis.Options, error) {
	u, err := url.Parse(address)
	if err != nil || u.Fragment != "" {
		return nil, errURL
	}
	unix := u.Scheme == "unix"
	for option := range u.Query() {
		if !unix || option != "db" {
			return nil, errors.New("url: it must have no options after a question mark, but db with unix://")
		}
	}
	options, err := redis.ParseURL(address)
	if err != nil || options.DB < 0 || !unix && u.Hostname() == "" {
		return nil, errURL
	}
	options.DialTimeout, options.ReadTimeout, options.WriteTimeout, options.PoolTimeout = timeout, timeout, timeout, timeout
	options.MaxRetries, options.DialerRetries = -1, 1
	options.ContextTimeoutEnabled = true
	// These features are of no use here, and would need more rights or goroutines.
	options.Protocol = 2
	options.DisableIdentity = true
	options.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	options.PipelinePoolSize = -1
	return options, nil
}

// Key implements store.Module. It is a hash, so it does not reveal the password.
func (s *Store) Key() string { return s.key }

// Settings implements store.Module.
func (s *Store) Settings() store.Settings { return s.Options.Settings() }

// Open implements store.Module.
func (s *Store) Open(report func(error)) (store.Store, error) {
	redirectClientLog()
	c := newConnection(redis.NewClient(s.client), s.Prefix+":", s.Settings().Age)
	go c.run(report)
	return c, nil
}

// redirectClientLog sends the log of go-redis to Caddy's log at debug. go-redis would write to standard error, such as for each
// failure to connect. Everything that matters is reported anyway.
var redirectClientLog = sync.OnceFunc(func() { redis.SetLogger(new(clientLog)) })
