package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	pb "example.com/jicofo-reservation-proxy/gen/jicofo/reservation/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/protobuf/types/known/emptypb"
)

var withKey = Options{APIKey: "hunter2", APIKeyHeader: "x-api-key"}

// The server accepts a call only with the key in its header.
func TestAPIKey(t *testing.T) {
	connection := dial(t, serve(t, withKey), nil)
	for _, test := range []struct {
		pairs []string
		code  codes.Code
	}{
		{[]string{"x-api-key", "hunter2"}, codes.NotFound},
		{[]string{"x-api-key", "other", "x-api-key", "hunter2"}, codes.NotFound},
		{nil, codes.Unauthenticated},
		{[]string{"x-api-key", "hunter"}, codes.Unauthenticated},
		{[]string{"x-api-key", "hunter22"}, codes.Unauthenticated},
		{[]string{"x-api-key", ""}, codes.Unauthenticated},
		{[]string{"authorization", "hunter2"}, codes.Unauthenticated},
	} {
		ctx := metadata.AppendToOutgoingContext(testContext(t), test.pairs...)
		if code := get(ctx, connection); code != test.code {
			t.Errorf("%v: wanted %v, got %v", test.pairs, test.code, code)
		}
	}
}

// The text of a refusal names the header; neither the text nor the log contains a key.
func TestRefusalSaysWhatWasWanted(t *testing.T) {
	var log output
	logger := slog.New(slog.NewTextHandler(&log, nil))
	service := NewService(newStore(newClock()), Policy{}, logger)
	client := pb.NewReservationServiceClient(dial(t, start(t, service, withKey, logger), nil))
	ctx := metadata.AppendToOutgoingContext(testContext(t), "x-api-key", "guess")
	_, err := client.DeleteConference(ctx, &pb.DeleteConferenceRequest{})
	wantCode(t, err, codes.Unauthenticated,
		"x-api-key: wanted the API key of this server, got no key or another key")
	if text := log.String(); !strings.Contains(text, "ReservationService/DeleteConference") ||
		strings.Contains(text, "hunter2") || strings.Contains(text, "guess") {
		t.Errorf("wanted the method and no key, got %s", text)
	}
}

// Unknown methods need the key, even if their names begin like the name of the health service. With
// the key, they get UNIMPLEMENTED.
func TestUnknownMethodsNeedTheKeyToo(t *testing.T) {
	connection := dial(t, serve(t, withKey), nil)
	for _, method := range []string{
		"/acme.Other/Call", "/grpc.health.v1.HealthX/Check",
		"/jicofo.reservation.v1.ReservationService/Other",
	} {
		call := func(ctx context.Context) error {
			return connection.Invoke(ctx, method, &emptypb.Empty{}, &emptypb.Empty{})
		}
		wantCode(t, call(testContext(t)), codes.Unauthenticated, "")
		keyed := metadata.AppendToOutgoingContext(testContext(t), "x-api-key", "hunter2")
		wantCode(t, call(keyed), codes.Unimplemented, "unknown method "+method)
	}
}

// Streams need the key too.
func TestStreamsNeedTheKey(t *testing.T) {
	connection := dial(t, serve(t, withKey), nil)
	description := &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}
	stream, err := connection.NewStream(testContext(t), description, "/acme.Other/Stream")
	if err != nil {
		t.Fatal(err)
	}
	wantCode(t, stream.RecvMsg(&emptypb.Empty{}), codes.Unauthenticated, "")
}

// Health checks need no key, and report SERVING for the server and for the service.
func TestHealthChecksNeedNoKey(t *testing.T) {
	client := grpc_health_v1.NewHealthClient(dial(t, serve(t, withKey), nil))
	for _, service := range []string{"", "jicofo.reservation.v1.ReservationService"} {
		request := &grpc_health_v1.HealthCheckRequest{Service: service}
		response, err := client.Check(testContext(t), request)
		if err != nil || response.GetStatus() != grpc_health_v1.HealthCheckResponse_SERVING {
			t.Errorf("%q: got %v, %v", service, response, err)
		}
	}
	_, err := client.Check(testContext(t), &grpc_health_v1.HealthCheckRequest{Service: "acme.Other"})
	wantCode(t, err, codes.NotFound, "")
}

// Reflection needs no key, and lists the services.
func TestReflectionListsTheServicesWithoutAKey(t *testing.T) {
	client := grpc_reflection_v1.NewServerReflectionClient(dial(t, serve(t, withKey), nil))
	stream, err := client.ServerReflectionInfo(testContext(t))
	if err != nil {
		t.Fatal(err)
	}
	list := &grpc_reflection_v1.ServerReflectionRequest_ListServices{}
	request := &grpc_reflection_v1.ServerReflectionRequest{MessageRequest: list}
	if err := stream.Send(request); err != nil {
		t.Fatal(err)
	}
	answer, err := stream.Recv()
	if err != nil {
		t.Fatal(err)
	}
	names := []string{}
	for _, service := range answer.GetListServicesResponse().GetService() {
		names = append(names, service.GetName())
	}
	expected := []string{
		"grpc.health.v1.Health", "grpc.reflection.v1.ServerReflection",
		"grpc.reflection.v1alpha.ServerReflection", "jicofo.reservation.v1.ReservationService",
	}
	if slices.Sort(names); !slices.Equal(names, expected) {
		t.Errorf("wanted %v, got %v", expected, names)
	}
}

// For port 0, Listen returns the address with the real port. A second server cannot listen on it.
func TestPortZeroIsARealPort(t *testing.T) {
	address := serve(t, Options{})
	if !regexp.MustCompile(`^127\.0\.0\.1:[1-9][0-9]*$`).MatchString(address) {
		t.Errorf("got %s", address)
	}
	if code := get(testContext(t), dial(t, address, nil)); code != codes.NotFound {
		t.Errorf("got %v", code)
	}
	_, _, err := Listen(address)
	wanted := address + ": wanted a free address of this machine, but could not listen there; stop " +
		"the server that uses the address"
	if err == nil || !strings.HasPrefix(err.Error(), wanted) {
		t.Errorf("got %v", err)
	}
}

// A second server cannot listen on the path of the first one. The listener deletes the path when it
// closes.
func TestTwoServersCannotShareAPath(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	listener, address, err := Listen("unix:" + path)
	if err != nil || address != "unix:"+path {
		t.Fatalf("got %s, %v", address, err)
	}
	for _, again := range []string{address, "unix://" + path} {
		_, _, err := Listen(again)
		if err == nil || !strings.Contains(err.Error(), "wanted a free path, but another server") {
			t.Errorf("%s: got %v", again, err)
		}
	}
	if err := listener.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(path); !os.IsNotExist(err) {
		t.Errorf("wanted the path to be gone, got %v", err)
	}
}

// staleSocket creates the socket file of a server that no longer runs.
func staleSocket(t *testing.T, path string) {
	t.Helper()
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: path})
	if err != nil {
		t.Fatal(err)
	}
	listener.SetUnlinkOnClose(false)
	_ = listener.Close()
}

// Listen replaces a stale socket file.
func TestListenReplacesAStaleSocketFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	staleSocket(t, path)
	listener, _, err := Listen("unix:" + path)
	if err != nil {
		t.Fatal(err)
	}
	_ = listener.Close()
}

// Listen deletes no file that is not a socket, and its error names the type of the file.
func TestListenReplacesNoOtherFile(t *testing.T) {
	for kind, create := range map[string]func(path, stale string) error{
		"a regular file":  func(path, _ string) error { return os.WriteFile(path, nil, 0o600) },
		"a directory":     func(path, _ string) error { return os.Mkdir(path, 0o700) },
		"a FIFO":          func(path, _ string) error { return exec.Command("mkfifo", path).Run() },
		"a symbolic link": func(path, stale string) error { return os.Symlink(stale, path) },
	} {
		t.Run(kind, func(t *testing.T) {
			folder := t.TempDir()
			path, stale := filepath.Join(folder, "path"), filepath.Join(folder, "stale")
			staleSocket(t, stale)
			if err := create(path, stale); err != nil {
				t.Fatal(err)
			}
			before, err := os.Lstat(path)
			if err != nil {
				t.Fatal(err)
			}
			expected := "unix:" + path + ": wanted a free path, but " + kind +
				" is there; remove it or choose another path"
			if _, _, err := Listen("unix:" + path); err == nil || err.Error() != expected {
				t.Errorf("wanted %q, got %v", expected, err)
			}
			if after, err := os.Lstat(path); err != nil || !os.SameFile(before, after) {
				t.Errorf("wanted %s to stay, got %v, %v", kind, after, err)
			}
			if _, err := os.Lstat(stale); err != nil {
				t.Errorf("wanted the socket to stay, got %v", err)
			}
		})
	}
}

// The server ends an old connection, so that clients look its name up again. The next call opens a
// new connection.
func TestConnectionsEndAfterTheirMaximumAge(t *testing.T) {
	connection := dial(t, serve(t, Options{MaxConnectionAge: 100 * time.Millisecond}), nil)
	for range 2 {
		if code := get(testContext(t), connection); code != codes.NotFound {
			t.Fatalf("wanted NotFound, got %v", code)
		}
		if !connection.WaitForStateChange(testContext(t), connectivity.Ready) {
			t.Fatalf("waited %v: the server did not end the connection", timeout)
		}
	}
}

// slowStore is a store whose Get waits until the test closes goOn, even if the context is done.
type slowStore struct {
	Store
	entered, goOn chan struct{}
}

func (s slowStore) Get(context.Context, string) (Conference, error) {
	close(s.entered)
	select {
	case <-s.goOn:
		return Conference{}, ErrNoConference
	case <-time.After(2 * timeout):
		return Conference{}, fmt.Errorf("waited %v: the test did not close goOn", 2*timeout)
	}
}

// running is a server with a slow store and one running call. The function stop stops the server.
// The channel stopped gets the error that Serve returns.
type running struct {
	store      slowStore
	connection *grpc.ClientConn
	stop       func()
	stopped    chan error
	answer     chan codes.Code
}

func slowCall(t *testing.T, grace time.Duration) *running {
	t.Helper()
	store := slowStore{entered: make(chan struct{}), goOn: make(chan struct{})}
	listener, address, err := Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	r := &running{store, dial(t, address, nil), stop, make(chan error, 1), make(chan codes.Code, 1)}
	server := NewServer(NewService(store, Policy{}, quiet), Options{Grace: grace}, quiet)
	go func() { r.stopped <- server.Serve(ctx, listener) }()
	call := testContext(t)
	go func() { r.answer <- get(call, r.connection) }()
	receive(t, store.entered, "the call did not reach the store")
	return r
}

// After the stop, health watchers get NOT_SERVING, the running call gets its answer, and then the
// server ends.
func TestStopFinishesRunningCalls(t *testing.T) {
	r := slowCall(t, timeout)
	ctx, leave := context.WithCancel(testContext(t))
	watch, err := grpc_health_v1.NewHealthClient(r.connection).Watch(
		ctx, &grpc_health_v1.HealthCheckRequest{})
	if err != nil {
		t.Fatal(err)
	}
	for _, expected := range []grpc_health_v1.HealthCheckResponse_ServingStatus{
		grpc_health_v1.HealthCheckResponse_SERVING, grpc_health_v1.HealthCheckResponse_NOT_SERVING,
	} {
		response, err := watch.Recv()
		if err != nil || response.GetStatus() != expected {
			t.Fatalf("wanted %v, got %v, %v", expected, response, err)
		}
		r.stop()
	}
	leave()
	select {
	case err := <-r.stopped:
		t.Fatalf("wanted the server to wait for the running call, but it stopped (%v)", err)
	default:
	}
	close(r.store.goOn)
	if code := receive(t, r.answer, "the running call got no answer"); code != codes.NotFound {
		t.Errorf("wanted the call to be answered, got %v", code)
	}
	if err := receive(t, r.stopped, "the server did not stop after its last call"); err != nil {
		t.Errorf("Serve: %v", err)
	}
	if code := get(testContext(t), r.connection); code != codes.Unavailable {
		t.Errorf("wanted a call after the stop to fail with Unavailable, got %v", code)
	}
}

// The server cancels a call that takes longer than the grace, even if the call ignores its context.
func TestStopCancelsCallsAfterTheGrace(t *testing.T) {
	r := slowCall(t, 0)
	r.stop()
	if err := receive(t, r.stopped, "the server did not stop after its grace"); err != nil {
		t.Errorf("Serve: %v", err)
	}
	code := receive(t, r.answer, "the cancelled call got no answer")
	if code != codes.Unavailable && code != codes.Canceled {
		t.Errorf("wanted the call to be cancelled, got %v", code)
	}
	close(r.store.goOn)
}

// Serve returns no error if the server was stopped before.
func TestStopBeforeStart(t *testing.T) {
	listener, _, err := Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := NewServer(NewService(newStore(newClock()), Policy{}, quiet), Options{}, quiet)
	server.stop()
	served := make(chan error, 1)
	go func() { served <- server.Serve(t.Context(), listener) }()
	if err := receive(t, served, "Serve of a stopped server did not return"); err != nil {
		t.Error(err)
	}
}
