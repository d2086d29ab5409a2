// Servers on free ports, connections to them, a clock that the test moves, and certificates.

package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"log/slog"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	pb "example.com/jicofo-reservation-proxy/gen/jicofo/reservation/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// timeout is the maximum time that a test waits for an event.
const timeout = 20 * time.Second

// receive returns the next value from the channel. If no value comes before the timeout, it fails
// the test with the message, which says what did not happen.
func receive[T any](t *testing.T, from <-chan T, message string) T {
	t.Helper()
	select {
	case value := <-from:
		return value
	case <-time.After(timeout):
		t.Fatalf("waited %v: %s", timeout, message)
		panic("unreachable")
	}
}

// finish waits until all goroutines of the group have ended. It fails as receive does.
func finish(t *testing.T, group *sync.WaitGroup, message string) {
	t.Helper()
	finished := make(chan struct{})
	go func() { group.Wait(); close(finished) }()
	receive(t, finished, message)
}

var quiet = slog.New(slog.NewTextHandler(io.Discard, nil))

// fakeClock is a clock that moves only when the test advances it.
type fakeClock struct {
	mu  sync.Mutex
	now time.Time
}

func newClock() *fakeClock {
	return &fakeClock{now: time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)}
}

func (c *fakeClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *fakeClock) Advance(by time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(by)
}

// output is a buffer that a server may write to while a test reads it.
type output struct {
	mu     sync.Mutex
	buffer bytes.Buffer
}

func (o *output) Write(text []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buffer.Write(text)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buffer.String()
}

// start starts a server, which stops at the end of the test, and returns its address.
func start(t *testing.T, service *Service, options Options, log *slog.Logger) string {
	t.Helper()
	listener, address, err := Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- NewServer(service, options, log).Serve(ctx, listener) }()
	t.Cleanup(func() {
		stop()
		if err := receive(t, served, "the server did not stop"); err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	return address
}

// serve starts a server with an empty store and without rules, and returns its address.
func serve(t *testing.T, options Options) string {
	t.Helper()
	service := NewService(NewMemoryStore(10, newClock().Now), Policy{}, quiet)
	return start(t, service, options, quiet)
}

// dial returns a connection, in plaintext if config is nil. The connection closes at the end of the
// test.
func dial(t *testing.T, target string, config *tls.Config) *grpc.ClientConn {
	t.Helper()
	transport := insecure.NewCredentials()
	if config != nil {
		transport = credentials.NewTLS(config)
	}
	connection, err := grpc.NewClient(target, grpc.WithTransportCredentials(transport))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = connection.Close() })
	return connection
}

func testContext(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), timeout)
	t.Cleanup(cancel)
	return ctx
}

// get returns the status of a call; NotFound means that the server accepted the call.
func get(ctx context.Context, connection *grpc.ClientConn) codes.Code {
	request := &pb.GetConferenceRequest{ConferenceId: "unknown"}
	_, err := pb.NewReservationServiceClient(connection).GetConference(ctx, request)
	return status.Code(err)
}

// wanted returns a request as the proxy sends it.
func wanted(requestID, room string) *pb.CreateConferenceRequest {
	return &pb.CreateConferenceRequest{
		RequestId: requestID,
		Room:      &pb.Room{Raw: room, Name: room},
		Owner:     &pb.Owner{Raw: "juliet@example.com"},
		StartTime: timestamppb.New(newClock().Now()),
	}
}

func wantCode(t *testing.T, err error, code codes.Code, text string) {
	t.Helper()
	if status.Code(err) != code || !strings.Contains(status.Convert(err).Message(), text) {
		t.Errorf("wanted %v with %q, got: %v", code, text, err)
	}
}

// authority issues certificates as files.
type authority struct {
	t      *testing.T
	folder string
	file   string
	cert   *x509.Certificate
	key    *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	folder := t.TempDir()
	a := &authority{t: t, folder: folder, file: filepath.Join(folder, "ca.pem")}
	a.key = newKey(t)
	a.cert = &x509.Certificate{
		SerialNumber:          big.NewInt(1),
		Subject:               pkix.Name{CommonName: folder},
		NotAfter:              time.Now().Add(time.Hour),
		IsCA:                  true,
		BasicConstraintsValid: true,
	}
	write(t, a.file, "CERTIFICATE", a.sign(a.cert, a.key))
	return a
}

// issue returns the files of a new certificate and its key.
func (a *authority) issue(name string) (string, string) {
	a.t.Helper()
	key := newKey(a.t)
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		a.t.Fatal(err)
	}
	cert := a.sign(&x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()),
		DNSNames:     []string{name},
		NotAfter:     time.Now().Add(time.Hour),
	}, key)
	certFile, keyFile := filepath.Join(a.folder, name+".pem"), filepath.Join(a.folder, name+".key")
	write(a.t, certFile, "CERTIFICATE", cert)
	write(a.t, keyFile, "PRIVATE KEY", der)
	return certFile, keyFile
}

// trusting returns the TLS configuration of a client that trusts this authority. The pair, if any,
// is the certificate and the key of the client.
func (a *authority) trusting(pair ...string) *tls.Config {
	a.t.Helper()
	pool := x509.NewCertPool()
	pool.AddCert(a.parsed())
	config := &tls.Config{RootCAs: pool, ServerName: "localhost"}
	if len(pair) == 2 {
		shown, err := tls.LoadX509KeyPair(pair[0], pair[1])
		if err != nil {
			a.t.Fatal(err)
		}
		// With Certificates, the client would send its certificate only if the server names the
		// authority of this certificate. With GetClientCertificate, it always sends it.
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			return &shown, nil
		}
	}
	return config
}

func (a *authority) parsed() *x509.Certificate {
	content, err := os.ReadFile(a.file)
	if err != nil {
		a.t.Fatal(err)
	}
	block, _ := pem.Decode(content)
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		a.t.Fatal(err)
	}
	return cert
}

func (a *authority) sign(cert *x509.Certificate, key *ecdsa.PrivateKey) []byte {
	der, err := x509.CreateCertificate(rand.Reader, cert, a.cert, &key.PublicKey, a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	return der
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func write(t *testing.T, path, kind string, der []byte) {
	t.Helper()
	content := pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
}
