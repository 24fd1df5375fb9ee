// Package storestest has what the tests of stores share that need an engine's real servers.
package storestest

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/seed-4dedbcea/caddy-sse/store"
)

// Patience bounds every wait. It is generous, for machines under load.
const Patience = 60 * time.Second

// Eventually waits for a condition.
func Eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for end := time.Now().Add(Patience); !condition(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("it does not happen that %s", what)
		}
	}
}

// Add appends a message, which must be accepted.
func Add(t *testing.T, l store.Log, after store.Pos, data string) store.Pos {
	t.Helper()
	pos, err := l.Append(t.Context(), after, []byte(data))
	if err != nil {
		t.Fatal(err)
	}
	return pos
}

// Follow follows a log until the test ends. It returns channels for the messages and for the error from Follow.
func Follow(t *testing.T, l store.Log, after store.Pos) (<-chan store.Message, <-chan error) {
	ctx, cancel := context.WithCancel(context.Background())
	messages, ended := make(chan store.Message, 100000), make(chan error, 1)
	var wg sync.WaitGroup
	wg.Go(func() {
		ended <- l.Follow(ctx, after, func(m store.Message) error {
			messages <- m
			return nil
		})
	})
	t.Cleanup(func() {
		cancel()
		wg.Wait()
	})
	return messages, ended
}

// Next returns the next message.
func Next[T any](t *testing.T, c <-chan T) T {
	t.Helper()
	select {
	case value := <-c:
		return value
	case <-time.After(Patience):
		t.Fatal("nothing comes")
		panic("unreachable")
	}
}

// Certificate writes a self-signed certificate for a server of that name, and its key. It returns the names of the files.
func Certificate(t *testing.T, server string) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: server}, DNSNames: []string{server},
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
