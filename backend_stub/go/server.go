// A gRPC server for the service: TLS, an API key, health checking, reflection and a graceful stop.

package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	pb "example.com/jicofo-reservation-proxy/gen/jicofo/reservation/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/reflection"
)

const (
	// DefaultAPIKeyHeader is the metadata key that brings the API key.
	DefaultAPIKeyHeader = "x-api-key"
	// DefaultGrace is how long running calls may take when the server stops.
	DefaultGrace = 5 * time.Second
)

// Options say how to serve. Without TLS the server speaks plaintext; without APIKey it asks for
// none. APIKeyHeader is in lower case, as gRPC requires of metadata keys.
type Options struct {
	TLS          *tls.Config
	APIKey       Secret
	APIKeyHeader string
	Grace        time.Duration
}

// Server serves the service until it is told to stop.
type Server struct {
	grpc   *grpc.Server
	health *health.Server
	grace  time.Duration
}

// NewServer returns a server that serves nobody yet.
func NewServer(
	service pb.ReservationServiceServer, options Options, log *slog.Logger,
) *Server {
	server := &Server{
		grpc:   grpc.NewServer(serverOptions(options, log)...),
		health: health.NewServer(),
		grace:  options.Grace,
	}
	pb.RegisterReservationServiceServer(server.grpc, service)
	grpc_health_v1.RegisterHealthServer(server.grpc, server.health)
	reflection.Register(server.grpc)
	for _, name := range []string{"", pb.ReservationService_ServiceDesc.ServiceName} {
		server.health.SetServingStatus(name, grpc_health_v1.HealthCheckResponse_SERVING)
	}
	return server
}

// Serve answers calls until ctx is done and then stops: it says so to health checks, takes no new
// calls, and gives those there are their grace. It closes the listener. It fails where the listener
// does.
func (s *Server) Serve(ctx context.Context, listener net.Listener) error {
	defer context.AfterFunc(ctx, s.stop)()
	err := s.grpc.Serve(listener)
	if errors.Is(err, grpc.ErrServerStopped) {
		// Stopped before it began.
		return nil
	}
	return err
}

func (s *Server) stop() {
	s.health.Shutdown()
	cut := time.AfterFunc(s.grace, s.grpc.Stop)
	defer cut.Stop()
	s.grpc.GracefulStop()
}

func serverOptions(options Options, log *slog.Logger) []grpc.ServerOption {
	settings := []grpc.ServerOption{
		// A request has some hundred bytes, or as many as the largest form that the proxy takes.
		// gRPC's own limit, 4 MiB, would let the store grow large.
		grpc.MaxRecvMsgSize(256 << 10),
		// Metadata is an incident id and a key; gRPC's own limit is 16 MiB.
		grpc.MaxHeaderListSize(16 << 10),
		// For each connection; gRPC itself sets none. RFC 9113, 6.5.2 asks for no less than 100.
		grpc.MaxConcurrentStreams(1000),
		// Who connects and says nothing is gone by then; gRPC itself waits two minutes.
		grpc.ConnectionTimeout(20 * time.Second),
		// A client may ping an idle connection every 10 s to learn early that it broke, and the
		// network may delay one ping and not the next: hence half of that. gRPC's own limit,
		// 5 minutes, answers the third ping with GOAWAY (grpc/grpc doc/keepalive.md).
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{
			MinTime:             5 * time.Second,
			PermitWithoutStream: true,
		}),
		grpc.ChainUnaryInterceptor(catchPanics(log)),
		grpc.UnknownServiceHandler(unknownMethod),
	}
	if options.TLS != nil {
		settings = append(settings, grpc.Creds(credentials.NewTLS(options.TLS)))
	}
	if options.APIKey != "" {
		guard := apiKey{options.APIKeyHeader, options.APIKey, log}
		settings = append(settings,
			grpc.ChainUnaryInterceptor(guard.unary), grpc.ChainStreamInterceptor(guard.stream))
	}
	return settings
}

// Listen listens on "host:port", where port 0 is any free one, or on "unix:/path". It returns the
// address as well, with the real port. A path is taken over from a server that is dead, but not
// from one that lives.
func Listen(address string) (net.Listener, string, error) {
	if path, ok := unixPath(address); ok {
		if err := removeDeadSocket(path); err != nil {
			return nil, "", fmt.Errorf("%s: %w", address, err)
		}
		listener, err := net.Listen("unix", path)
		return listener, address, listenError(address, err)
	}
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return nil, "", listenError(address, err)
	}
	host, _, _ := net.SplitHostPort(address)
	port := listener.Addr().(*net.TCPAddr).Port
	return listener, net.JoinHostPort(host, strconv.Itoa(port)), nil
}

func listenError(address string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: wanted a free address of this machine, but could not listen there; "+
		"stop the server that does, or choose another address (port 0: any free port): %w",
		address, err)
}

// unixPath takes "unix:/path", "unix:///path" and "unix:path", as gRPC does.
func unixPath(address string) (string, bool) {
	rest, ok := strings.CutPrefix(address, "unix:")
	return strings.TrimPrefix(rest, "//"), ok
}

func removeDeadSocket(path string) error {
	info, err := os.Lstat(path)
	if err != nil || info.Mode()&fs.ModeSocket == 0 {
		// Nothing is there, or something that is not ours to remove.
		return nil
	}
	connection, err := net.Dial("unix", path)
	if err == nil {
		_ = connection.Close()
		return errors.New("another server listens there; stop it or choose another path")
	}
	if errors.Is(err, syscall.ECONNREFUSED) {
		return os.Remove(path)
	}
	return nil
}
