// What every call passes before it comes to a service: the API key, and a net for panics.

package main

import (
	"context"
	"crypto/subtle"
	"log/slog"
	"runtime/debug"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/reflection/grpc_reflection_v1alpha"
	"google.golang.org/grpc/status"
)

// What probes and people with a command line call, who have no key.
var keylessServices = map[string]bool{
	grpc_health_v1.Health_ServiceDesc.ServiceName:                    true,
	grpc_reflection_v1.ServerReflection_ServiceDesc.ServiceName:      true,
	grpc_reflection_v1alpha.ServerReflection_ServiceDesc.ServiceName: true,
}

// apiKey lets a call in when it brings the key in this header; health checks and reflection need
// none.
type apiKey struct {
	header string
	key    Secret
	log    *slog.Logger
}

func (a apiKey) unary(
	ctx context.Context, request any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler,
) (any, error) {
	if err := a.check(ctx, info.FullMethod); err != nil {
		return nil, err
	}
	return handler(ctx, request)
}

func (a apiKey) stream(
	server any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler,
) error {
	if err := a.check(stream.Context(), info.FullMethod); err != nil {
		return err
	}
	return handler(server, stream)
}

func (a apiKey) check(ctx context.Context, method string) error {
	service, _, _ := strings.Cut(strings.TrimPrefix(method, "/"), "/")
	if keylessServices[service] {
		return nil
	}
	for _, value := range metadata.ValueFromIncomingContext(ctx, a.header) {
		// In constant time, so that the answer's delay does not give the key away bit by bit.
		if subtle.ConstantTimeCompare([]byte(value), []byte(a.key)) == 1 {
			return nil
		}
	}
	a.log.Warn("refused, without the API key", "method", method)
	return status.Errorf(codes.Unauthenticated, "%s: wanted the API key of this server", a.header)
}

// unknownMethod answers like gRPC itself, but as a handler, which the interceptors stand before:
// without the key, unknown methods cannot be told from others.
func unknownMethod(_ any, stream grpc.ServerStream) error {
	method, _ := grpc.MethodFromServerStream(stream)
	return status.Errorf(codes.Unimplemented, "unknown method %s", method)
}

// catchPanics makes INTERNAL of a panic: a fault in one call, of your rules perhaps, must not end
// the process and with it all other calls, as it would in Go.
func catchPanics(log *slog.Logger) grpc.UnaryServerInterceptor {
	return func(
		ctx context.Context, request any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler,
	) (response any, err error) {
		defer func() {
			if fault := recover(); fault != nil {
				log.Error("panic", "method", info.FullMethod, "fault", fault,
					"stack", string(debug.Stack()))
				err = status.Error(codes.Internal, "the log has the cause")
			}
		}()
		return handler(ctx, request)
	}
}
