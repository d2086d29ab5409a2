// The interceptors, which gRPC calls before the service: they check the API key and catch panics.

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

// Callers without an API key use these services: probes and command line tools.
var keylessServices = map[string]bool{
	grpc_health_v1.Health_ServiceDesc.ServiceName:                    true,
	grpc_reflection_v1.ServerReflection_ServiceDesc.ServiceName:      true,
	grpc_reflection_v1alpha.ServerReflection_ServiceDesc.ServiceName: true,
}

// apiKey accepts a call that carries the API key. Health checks and reflection need no key.
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
		// The comparison takes constant time, so that nobody can find the key by measuring how
		// long an answer takes.
		if subtle.ConstantTimeCompare([]byte(value), []byte(a.key)) == 1 {
			return nil
		}
	}
	a.log.Warn("refused, the call has no valid API key", "method", method)
	return status.Errorf(codes.Unauthenticated,
		"%s: wanted the API key of this server, got no key or another key", a.header)
}

// unknownMethod answers an unknown method as gRPC itself does. It is a handler, so the interceptors
// run before it: a caller without the key cannot learn which methods exist.
func unknownMethod(_ any, stream grpc.ServerStream) error {
	method, _ := grpc.MethodFromServerStream(stream)
	return status.Errorf(codes.Unimplemented, "unknown method %s", method)
}

// catchPanics answers INTERNAL if the code for a call panics. Without it, a panic in one call, for
// example in your rules, would end the process and all other calls.
func catchPanics(log *slog.Logger) grpc.UnaryServerInterceptor {
	return func(
		ctx context.Context, request any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler,
	) (response any, err error) {
		defer func() {
			if fault := recover(); fault != nil {
				log.Error("panic", "method", info.FullMethod, "fault", fault,
					"stack", string(debug.Stack()))
				err = status.Error(codes.Internal, "the backend's log contains the cause")
			}
		}()
		return handler(ctx, request)
	}
}
