package redis

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/seed-4dedbcea/caddy-sse/store"
	"github.com/seed-4dedbcea/caddy-sse/store/storeoptions"
)

// certificate writes a self-signed certificate for the server redis.test, and its key. It returns the names of the files.
func certificate(t *testing.T) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "redis.test"}, DNSNames: []string{"redis.test"},
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
	s := newServer(t, "--tls-cert-file", cert, "--tls-key-file", key, "--tls-ca-cert-file", cert)
	s.args = append(s.args, "--port", "0", "--tls-port", s.port)
	s.start()
	url := strings.Replace(s.url(), "redis:", "rediss:", 1)

	both := storeoptions.TLS{CA: cert, ClientCert: cert, ClientKey: key, ServerName: "redis.test"}
	o := open(t, url, func(s *Store) { s.TLS = &both })
	o.awaitUp(t)
	add(t, o.Log("a"), 0, "one")

	noCA, noName, noCert := both, both, both
	noCA.CA = ""
	noName.ServerName = ""
	noCert.ClientCert, noCert.ClientKey = "", ""
	for change, options := range map[string]*storeoptions.TLS{"ca": &noCA, "server_name": &noName, "client_cert": &noCert} {
		o := open(t, url, func(s *Store) { s.TLS = options })
		err := o.await(t, "it is refused", func(err error) bool { return errors.Is(err, store.ErrRefused) })
		if !strings.Contains(err.Error(), change) {
			t.Errorf("without %s: %v", change, err)
		}
	}
}
