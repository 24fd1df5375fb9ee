package ssetest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	mathrand "math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/quic-go/quic-go/http3"
)

// Protocols are the names of protocols for Client and Server.URL: HTTP/1.1, HTTP/1.1 over TLS, HTTP/2 without and with TLS, and
// HTTP/3.
var Protocols = []string{"h1", "h1tls", "h2c", "h2", "h3"}

// Client returns a client that speaks only one of the Protocols. It trusts any certificate, follows no redirects, does not ask for
// compression and has no timeout. Its connections close when the test ends.
func Client(t testing.TB, protocol string) *http.Client {
	t.Helper()
	anyCertificate := &tls.Config{InsecureSkipVerify: true}
	client := &http.Client{
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	if protocol == "h3" {
		transport := &http3.Transport{TLSClientConfig: anyCertificate, DisableCompression: true}
		client.Transport = transport
		t.Cleanup(func() { _ = transport.Close() })
		return client
	}
	transport := &http.Transport{
		TLSClientConfig: anyCertificate, DisableCompression: true, Protocols: new(http.Protocols),
		HTTP2: &http.HTTP2Config{MaxReceiveBufferPerStream: 256 << 10}, // so that a server soon notices a client that does not read
	}
	switch protocol {
	case "h1", "h1tls":
		transport.Protocols.SetHTTP1(true)
	case "h2c":
		transport.Protocols.SetUnencryptedHTTP2(true)
	case "h2":
		transport.Protocols.SetHTTP2(true)
	default:
		t.Fatalf("unknown protocol %q: want one of %q", protocol, Protocols)
	}
	client.Transport = transport
	t.Cleanup(transport.CloseIdleConnections)
	return client
}

// Cert writes a self-signed certificate for localhost and the loopback addresses, and its key, to files in a folder of the test.
func Cert(t testing.TB) (certFile, keyFile string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()),
		Subject:      pkix.Name{CommonName: "localhost"},
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(24 * time.Hour),
		DNSNames:     []string{"localhost"},
		IPAddresses:  []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},
	}
	certificate, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	write := func(name, kind string, der []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	return write("cert.pem", "CERTIFICATE", certificate), write("key.pem", "PRIVATE KEY", keyDER)
}

// FreePort returns a port on 127.0.0.1 that is free for TCP and for UDP, which HTTP/3 needs. It is not in the range that the system
// uses for outgoing connections, so that no connection can take it before the server listens.
func FreePort(t testing.TB) int {
	t.Helper()
	for range 100 {
		port := 10_000 + mathrand.IntN(20_000)
		tcp, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if err != nil {
			continue
		}
		udp, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port})
		_ = tcp.Close()
		if err == nil {
			_ = udp.Close()
			return port
		}
	}
	t.Fatal("no port of 127.0.0.1 is free for both TCP and UDP")
	return 0
}
