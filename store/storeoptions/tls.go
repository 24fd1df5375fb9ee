package storeoptions

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"os"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/seed-4dedbcea/caddy-sse/internal/caddykit/directive"
)

// TLS says how connections to the engine are encrypted.
type TLS struct {
	// A file with the certificates of the authorities to trust, in PEM. Default: those of the system.
	CA string `json:"ca,omitempty"`

	// A file with the certificate to present to the engine, in PEM. Default: none.
	ClientCert string `json:"client_cert,omitempty"`

	// A file with the key of that certificate, in PEM.
	ClientKey string `json:"client_key,omitempty"`

	// The name that the engine's certificate must have. Default: the host that the connection is made to.
	ServerName string `json:"server_name,omitempty"`
}

func (t *TLS) unmarshal(d *caddyfile.Dispenser) error {
	if err := directive.NoArgs(d); err != nil {
		return err
	}
	seen := make(directive.Seen)
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		err := seen.Add(d)
		if err != nil {
			return err
		}
		switch d.Val() {
		case "ca":
			t.CA, err = directive.OneArg(d)
		case "client_cert":
			var given []string
			if given, err = directive.Args(d, 2, 2); err == nil {
				t.ClientCert, t.ClientKey = given[0], given[1]
			}
		case "server_name":
			t.ServerName, err = directive.OneArg(d)
		default:
			err = d.Errf("unrecognized option %q of tls", d.Val())
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// Load reads the files. It returns a configuration for clients, and a digest of the options and of the files' content.
func (t *TLS) Load() (*tls.Config, string, error) {
	config := &tls.Config{ServerName: t.ServerName, MinVersion: tls.VersionTLS12}
	digest := sha256.New()
	fmt.Fprintf(digest, "%q", t.ServerName)
	read := func(option, file string) ([]byte, error) {
		content, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("tls: %s: %w", option, err)
		}
		fmt.Fprintf(digest, "%s%q", option, content)
		return content, nil
	}
	if t.CA != "" {
		content, err := read("ca", t.CA)
		if err != nil {
			return nil, "", err
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(content) {
			return nil, "", fmt.Errorf("tls: ca: %s has no certificate in PEM", t.CA)
		}
	}
	if (t.ClientCert == "") != (t.ClientKey == "") {
		return nil, "", errors.New("tls: client_cert and client_key must be given together")
	}
	if t.ClientCert != "" {
		cert, err := read("client_cert", t.ClientCert)
		if err != nil {
			return nil, "", err
		}
		key, err := read("client_key", t.ClientKey)
		if err != nil {
			return nil, "", err
		}
		pair, err := tls.X509KeyPair(cert, key)
		if err != nil {
			return nil, "", fmt.Errorf("tls: client_cert: %s with the key %s: %w", t.ClientCert, t.ClientKey, err)
		}
		config.Certificates = []tls.Certificate{pair}
	}
	return config, hex.EncodeToString(digest.Sum(nil)), nil
}
