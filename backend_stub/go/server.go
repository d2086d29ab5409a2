// A gRPC server for the service: TLS, an API key, health checking, reflection and a graceful
// shutdown.

package main

import (
	"cmp"
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
	// DefaultAPIKeyHeader is the metadata key that carries the API key.
	DefaultAPIKeyHeader = "x-api-key"
	// DefaultGrace is the time that running calls get when the server stops.
	DefaultGrace = 5 * time.Second
	// DefaultMaxConnectionAge is the time after which the server ends a connection.
	DefaultMaxConnectionAge = 5 * time.Minute
)

// Options holds the options of a server. Without TLS the server uses plaintext. Without APIKey the
// server requires no key. APIKeyHeader is in lower case, as gRPC requires for metadata keys. Grace
// is the time that running calls get when the server stops. If MaxConnectionAge is 0, it is
// DefaultMaxConnectionAge.
type Options struct {
	TLS              *tls.Config
	APIKey           Secret
	APIKeyHeader     string
	Grace            time.Duration
	MaxConnectionAge time.Duration
}

// Server serves the service until its context is done.
type Server struct {
	grpc   *grpc.Server
	health *health.Server
	grace  time.Duration
}

// NewServer returns a server that does not serve yet.
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

// Serve answers calls until ctx is done. Then it stops gracefully: health checks report NOT_SERVING,
// the server accepts no new calls, and it cancels the calls that still run after Options.Grace.
// Serve closes the listener, and returns the error of the listener, if any.
func (s *Server) Serve(ctx context.Context, listener net.Listener) error {
	defer context.AfterFunc(ctx, s.stop)()
	err := s.grpc.Serve(listener)
	if errors.Is(err, grpc.ErrServerStopped) {
		// The server was stopped before it began to serve.
		return nil
	}
	return err
}

func (s *Server) stop() {
	s.health.Shutdown()
	timer := time.AfterFunc(s.grace, s.grpc.Stop)
	defer timer.Stop()
	s.grpc.GracefulStop()
}

func serverOptions(options Options, log *slog.Logger) []grpc.ServerOption {
	settings := []grpc.ServerOption{
		// A request has a few hundred bytes, and never more than the largest form that the proxy
		// accepts. With gRPC's default limit, 4 MiB, the store could use too much memory.
		grpc.MaxRecvMsgSize(256 << 10),
		// The metadata contains an incident id and an API key. gRPC's default limit is 16 MiB.
		grpc.MaxHeaderListSize(16 << 10),
		// The maximum number of open calls on each connection; gRPC has no limit by default.
		// RFC 9113, 6.5.2, recommends at least 100.
		grpc.MaxConcurrentStreams(1000),
		// The server closes a connection that does not finish its handshakes within this time.
		// gRPC's default is two minutes.
		grpc.ConnectionTimeout(20 * time.Second),
		// A client may ping an idle connection every 10 s to detect a broken connection early. The
		// network may delay one ping and not the next, so the server accepts an interval of 5 s. With
		// gRPC's default, 5 minutes, the server answers the third ping with GOAWAY (grpc/grpc
		// doc/keepalive.md).
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{
			MinTime:             5 * time.Second,
			PermitWithoutStream: true,
		}),
		// The server ends each connection after this age, and running calls have 20 s to finish. The
		// client then looks the name of the server up again, so that it finds replicas that were added
		// (grpc/proposal A9). By default, a connection lives forever.
		grpc.KeepaliveParams(keepalive.ServerParameters{
			MaxConnectionAge:      cmp.Or(options.MaxConnectionAge, DefaultMaxConnectionAge),
			MaxConnectionAgeGrace: 20 * time.Second,
		}),
		grpc.ChainUnaryInterceptor(catchPanics(log)),
		grpc.UnknownServiceHandler(unknownMethod),
	}
	if options.TLS != nil {
		settings = append(settings, grpc.Creds(credentials.NewTLS(options.TLS)))
	}
	if options.APIKey != "" {
		key := apiKey{options.APIKeyHeader, options.APIKey, log}
		settings = append(settings,
			grpc.ChainUnaryInterceptor(key.unary), grpc.ChainStreamInterceptor(key.stream))
	}
	return settings
}

// Listen listens on "host:port" or "unix:/path"; port 0 means any free port. It returns the listener
// and the address with the real port. Listen replaces the socket file of a server that no longer
// runs. It replaces no other file.
func Listen(address string) (net.Listener, string, error) {
	if path, ok := unixPath(address); ok {
		if err := removeStaleSocket(path); err != nil {
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
		"stop the server that uses the address, or choose another one (port 0: any free port): %w",
		address, err)
}

// unixPath returns the path of "unix:/path", "unix:///path" or "unix:path", the forms that gRPC
// accepts.
func unixPath(address string) (string, bool) {
	rest, ok := strings.CutPrefix(address, "unix:")
	return strings.TrimPrefix(rest, "//"), ok
}

// removeStaleSocket deletes the socket file of a server that no longer runs. It follows no symbolic
// link. It returns an error if another server listens on the path, or if the file is not a socket.
func removeStaleSocket(path string) error {
	info, err := os.Lstat(path)
	if err != nil {
		// The path is free, or net.Listen reports the error.
		return nil
	}
	if info.Mode().Type() != fs.ModeSocket {
		return fmt.Errorf("wanted a free path, but %s is there; remove it or choose another path",
			fileType(info.Mode()))
	}
	connection, err := net.Dial("unix", path)
	if err == nil {
		_ = connection.Close()
		return errors.New("wanted a free path, but another server listens there; " +
			"stop that server or choose another path")
	}
	if errors.Is(err, syscall.ECONNREFUSED) {
		return os.Remove(path)
	}
	return nil
}

func fileType(mode fs.FileMode) string {
	switch mode.Type() {
	case 0:
		return "a regular file"
	case fs.ModeSymlink:
		return "a symbolic link"
	case fs.ModeDir:
		return "a directory"
	case fs.ModeNamedPipe:
		return "a FIFO"
	default:
		return "a device"
	}
}
