package nats

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"os"
	"regexp"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"

	"github.com/caddyserver/caddy/v2"

	"github.com/seed-4dedbcea/caddy-sse/internal/caddykit/directive"
	"github.com/seed-4dedbcea/caddy-sse/store"
	"github.com/seed-4dedbcea/caddy-sse/store/storeoptions"
)

func init() {
	caddy.RegisterModule(new(Store))
}

// Store keeps the history of sources in a stream of NATS JetStream. It needs NATS 2.11 or newer. The package's documentation
// says which rights its user needs.
type Store struct {
	// The servers: nats://<host>[:<port>], or tls:// for TLS. Default: nats://127.0.0.1:4222. Placeholders of the server, such as
	// {env.X}, are expanded in them, and in all that tells who connects.
	URLs []string `json:"urls,omitempty"`

	// The name of the stream. It is made if it is missing, and never changed. Default: SSE.
	Stream string `json:"stream,omitempty"`

	// What the names of all subjects begin with. A dot follows it. Default: sse.
	Prefix string `json:"prefix,omitempty"`

	// How many servers keep the stream, if it has to be made: from 1 to 5. Default: 1.
	Replicas int `json:"replicas,omitempty"`

	// A file of credentials, as nsc makes it.
	Credentials string `json:"credentials,omitempty"`

	// A user, and its password.
	User     string `json:"user,omitempty"`
	Password string `json:"password,omitempty"`

	// A token.
	Token string `json:"token,omitempty"`

	// A file with the seed of an NKey.
	NKey string `json:"nkey,omitempty"`

	storeoptions.Options

	servers []string
	login   []nats.Option
	key     string
}

// CaddyModule returns the Caddy module information.
func (*Store) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.sse.stores.nats", New: func() caddy.Module { return new(Store) }}
}

// Provision checks the options, and reads the files that they name.
func (s *Store) Provision(caddy.Context) error {
	if len(s.URLs) == 0 {
		s.URLs = []string{nats.DefaultURL}
	}
	directive.SetDefault(&s.Stream, "SSE")
	directive.SetDefault(&s.Prefix, "sse")
	directive.SetDefault(&s.Replicas, 1)
	if err := s.Validate(); err != nil {
		return err
	}
	if err := s.expand(); err != nil {
		return err
	}
	digest := sha256.New()
	var err error
	if s.login, err = s.logIn(func(content []byte) { fmt.Fprintf(digest, "%q", content) }); err != nil {
		return err
	}
	if s.TLS != nil {
		config, files, err := s.TLS.Load()
		if err != nil {
			return err
		}
		s.login = append(s.login, nats.Secure(config))
		fmt.Fprintf(digest, "%q", files)
	}
	fmt.Fprintf(digest, "%q %q %q %d %q %v", s.servers, s.Stream, s.Prefix, s.Replicas,
		[]string{s.Credentials, s.User, s.Password, s.Token, s.NKey}, s.Settings())
	s.key = "nats " + hex.EncodeToString(digest.Sum(nil))
	return nil
}

// Validate checks options that may have come as JSON.
func (s *Store) Validate() error {
	if err := checkStream(s.Stream); err != nil {
		return fmt.Errorf("stream: %w", err)
	}
	if err := checkPrefix(s.Prefix); err != nil {
		return fmt.Errorf("prefix: %w", err)
	}
	if s.Replicas < 1 || s.Replicas > mostReplicas {
		return errReplicas
	}
	if err := s.checkLogin(); err != nil {
		return err
	}
	return s.Options.Validate()
}

var (
	streamNames = regexp.MustCompile(`^[A-Za-z0-9_-]{1,128}$`)
	prefixes    = regexp.MustCompile(`^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*$`)
)

func checkStream(name string) error {
	if !streamNames.MatchString(name) {
		return fmt.Errorf("it must consist of up to 128 letters, digits, - and _, not %q", name)
	}
	return nil
}

func checkPrefix(prefix string) error {
	if !prefixes.MatchString(prefix) || len(prefix) > 128 {
		return fmt.Errorf("it must consist of up to 128 letters, digits, - and _, with dots between them, not %q", prefix)
	}
	return nil
}

// mostReplicas is as many as JetStream takes.
const mostReplicas = 5

var errReplicas = fmt.Errorf("replicas must be from 1 to %d", mostReplicas)

func (s *Store) checkLogin() error {
	ways := 0
	for _, given := range []bool{s.Credentials != "", s.User != "" || s.Password != "", s.Token != "", s.NKey != ""} {
		if given {
			ways++
		}
	}
	if ways > 1 {
		return errors.New("credentials, user, token and nkey exclude each other")
	}
	if s.Password != "" && s.User == "" {
		return errors.New("a password needs a user")
	}
	return nil
}

// checkURL does not repeat the URL, as there may be a password in it.
func checkURL(text string) error {
	u, err := url.Parse(text)
	switch {
	case err == nil && u.User != nil:
		return errors.New("url: it must have no user, password or token: there are the options user and token")
	case err != nil || u.Scheme != "nats" && u.Scheme != "tls" || u.Hostname() == "" || u.Path != "" || u.RawQuery != "" || u.Fragment != "":
		return errors.New("url: it must be nats://<host>[:<port>], or tls:// for TLS")
	}
	return nil
}

// expand expands placeholders.
func (s *Store) expand() error {
	replacer := caddy.NewReplacer()
	s.servers = nil
	for _, text := range s.URLs {
		server, err := replacer.ReplaceOrErr(text, true, true)
		if err != nil {
			return fmt.Errorf("url: %w", err)
		}
		if err := checkURL(server); err != nil {
			return err
		}
		s.servers = append(s.servers, server)
	}
	for name, option := range map[string]*string{
		"credentials": &s.Credentials, "user": &s.User, "password": &s.Password, "token": &s.Token, "nkey": &s.NKey,
	} {
		var err error
		if *option, err = replacer.ReplaceOrErr(*option, true, true); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

// logIn returns the options that tell NATS who connects. It calls see with the files that they name. These are read again for
// each connection.
func (s *Store) logIn(see func(content []byte)) ([]nats.Option, error) {
	switch {
	case s.Credentials != "":
		content, err := os.ReadFile(s.Credentials)
		if err != nil {
			return nil, fmt.Errorf("credentials: %w", err)
		}
		see(content)
		token, err := nkeys.ParseDecoratedJWT(content)
		if err != nil || strings.Count(token, ".") != 2 {
			return nil, fmt.Errorf("credentials: %s has no JWT of a user", s.Credentials)
		}
		pair, err := nkeys.ParseDecoratedUserNKey(content)
		if err != nil {
			return nil, fmt.Errorf("credentials: %s has no seed of a user", s.Credentials)
		}
		pair.Wipe()
		return []nats.Option{nats.UserCredentials(s.Credentials)}, nil
	case s.NKey != "":
		content, err := os.ReadFile(s.NKey)
		if err != nil {
			return nil, fmt.Errorf("nkey: %w", err)
		}
		see(content)
		option, err := nats.NkeyOptionFromSeed(s.NKey)
		if err != nil {
			return nil, fmt.Errorf("nkey: %s has no seed of a user", s.NKey)
		}
		return []nats.Option{option}, nil
	case s.Token != "":
		return []nats.Option{nats.Token(s.Token)}, nil
	case s.User != "":
		return []nats.Option{nats.UserInfo(s.User, s.Password)}, nil
	}
	return nil, nil
}

// Key implements store.Module. It says nothing of the password.
func (s *Store) Key() string { return s.key }

// Settings implements store.Module.
func (s *Store) Settings() store.Settings { return s.Options.Settings() }

// Open implements store.Module.
func (s *Store) Open(report func(error)) (store.Store, error) {
	c := newConnection(s)
	go c.run(report)
	return c, nil
}
