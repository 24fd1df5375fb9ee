package nats_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/seed-4dedbcea/caddy-sse/store/storeoptions"
	"github.com/seed-4dedbcea/caddy-sse/stores/nats"
)

// certificate writes a certificate for the server nats.test, which signs itself, and its key. It returns the files.
func certificate(t *testing.T) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "nats.test"}, DNSNames: []string{"nats.test"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	public, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	write := func(name, kind string, content []byte) string {
		file := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: content}), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	return write("cert.pem", "CERTIFICATE", public), write("key.pem", "PRIVATE KEY", secret)
}

func TestTLS(t *testing.T) {
	cert, key := certificate(t)
	s := startServer(t, fmt.Sprintf("tls { cert_file: %q, key_file: %q, ca_file: %q, verify: true }", cert, key, cert))
	both := storeoptions.TLS{CA: cert, ClientCert: cert, ClientKey: key, ServerName: "nats.test"}
	for _, scheme := range []string{"nats:", "tls:"} {
		o := openURLs(t, []string{strings.Replace(s.url(), "nats:", scheme, 1)}, func(s *nats.Store) { s.TLS = &both })
		o.awaitUp(t)
		add(t, o.Log(strings.Trim(scheme, ":")), 0, "one")
	}

	noCA, noName, noCert := both, both, both
	noCA.CA = ""
	noName.ServerName = ""
	noCert.ClientCert, noCert.ClientKey = "", ""
	for change, options := range map[string]*storeoptions.TLS{"ca": &noCA, "server_name": &noName, "client_cert": &noCert} {
		o := open(t, []*server{s}, func(s *nats.Store) { s.TLS = options })
		if err := o.awaitRefused(t); !strings.Contains(err.Error(), change) {
			t.Errorf("without %s: %v", change, err)
		}
	}
	if err := open(t, []*server{s}).awaitRefused(t); !strings.Contains(err.Error(), "tls") {
		t.Errorf("without tls: %v", err)
	}
}

func TestTLSThatTheServerDoesNotHave(t *testing.T) {
	o := open(t, []*server{startServer(t)}, func(s *nats.Store) { s.TLS = new(storeoptions.TLS) })
	if err := o.awaitRefused(t); !strings.Contains(err.Error(), "TLS") {
		t.Errorf("it is reported that %v", err)
	}
}
