package com.example.reservations;

import static com.example.reservations.Backend.fault;
import static com.example.reservations.Backend.stub;
import static com.example.reservations.Backend.with;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.grpc.ConnectivityState;
import io.grpc.Grpc;
import io.grpc.InsecureChannelCredentials;
import io.grpc.ManagedChannel;
import io.grpc.Status;
import io.grpc.health.v1.HealthCheckRequest;
import io.grpc.health.v1.HealthCheckResponse;
import io.grpc.health.v1.HealthCheckResponse.ServingStatus;
import io.grpc.health.v1.HealthGrpc;
import io.grpc.netty.shaded.io.grpc.netty.NettyChannelBuilder;
import io.grpc.netty.shaded.io.netty.channel.MultiThreadIoEventLoopGroup;
import io.grpc.netty.shaded.io.netty.channel.nio.NioIoHandler;
import io.grpc.netty.shaded.io.netty.channel.socket.nio.NioDomainSocketChannel;
import io.grpc.reflection.v1.ServerReflectionGrpc;
import io.grpc.reflection.v1.ServerReflectionRequest;
import io.grpc.reflection.v1.ServerReflectionResponse;
import io.grpc.reflection.v1.ServiceResponse;
import io.grpc.stub.StreamObserver;
import java.io.IOException;
import java.net.StandardProtocolFamily;
import java.net.UnixDomainSocketAddress;
import java.nio.channels.ServerSocketChannel;
import java.nio.file.Files;
import java.nio.file.LinkOption;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.Optional;
import java.util.Set;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import java.util.logging.Level;
import java.util.stream.Collectors;
import jicofo.reservation.v1.DeleteConferenceRequest;
import jicofo.reservation.v1.GetConferenceRequest;
import jicofo.reservation.v1.GetConferenceResponse;
import jicofo.reservation.v1.ReservationServiceGrpc;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.DisplayName;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

@DisplayName("The server: API key, health checks, reflection, addresses, shutdown")
final class ReservationServerTest {
    private static final Optional<ApiKey> KEY =
            Optional.of(new ApiKey("x-api-key", new Secret("hunter2")));

    private final Backend backend = new Backend();

    @AfterEach
    void stop() throws InterruptedException {
        backend.stop();
    }

    @Test
    @DisplayName("For port 0, it returns the address with the real port")
    void portZero() throws Exception {
        String address = backend.serve(Backend.options());
        assertTrue(address.matches("127\\.0\\.0\\.1:[1-9][0-9]*"), address);
        assertEquals(Status.Code.NOT_FOUND, Backend.get(stub(backend.dial(address))));
    }

    @ParameterizedTest
    @DisplayName("It accepts a call only with the key in its header")
    @CsvSource({
        "x-api-key, hunter2, NOT_FOUND",
        "x-api-key, hunter, UNAUTHENTICATED",
        "x-api-key, '', UNAUTHENTICATED",
        "authorization, hunter2, UNAUTHENTICATED",
    })
    void apiKey(String header, String value, Status.Code code) throws Exception {
        var channel = backend.dial(backend.serve(Backend.options(Optional.empty(), KEY)));
        assertEquals(code, Backend.get(with(stub(channel), header, value)));
        assertEquals(Status.Code.UNAUTHENTICATED, Backend.get(stub(channel)));
    }

    @Test
    @DisplayName("It accepts a call with several keys if one of them is right")
    void apiKeyTwice() throws Exception {
        var channel = backend.dial(backend.serve(Backend.options(Optional.empty(), KEY)));
        var headers = with(stub(channel), "x-api-key", "other", "x-api-key", "hunter2");
        assertEquals(Status.Code.NOT_FOUND, Backend.get(headers));
    }

    @Test
    @DisplayName("A refusal names the header; neither its text nor the log contains a key")
    void refusal() throws Exception {
        var channel = backend.dial(backend.serve(Backend.options(Optional.empty(), KEY)));
        try (LogRecorder log = new LogRecorder()) {
            var guess = with(stub(channel), "x-api-key", "guess");
            Status status = fault(
                    () -> guess.deleteConference(DeleteConferenceRequest.getDefaultInstance()));
            assertEquals(
                    "x-api-key: wanted the API key of this server, got no key or another key",
                    status.getDescription());
            assertEquals(
                    List.of("jicofo.reservation.v1.ReservationService/DeleteConference:"
                            + " refused, the call has no valid API key"),
                    log.messages(Level.WARNING));
        }
    }

    @ParameterizedTest
    @DisplayName("Health checks need no key, and report SERVING for the server and the service")
    @ValueSource(strings = {"", "jicofo.reservation.v1.ReservationService"})
    void health(String service) throws Exception {
        var channel = backend.dial(backend.serve(Backend.options(Optional.empty(), KEY)));
        var request = HealthCheckRequest.newBuilder().setService(service).build();
        var response = HealthGrpc.newBlockingStub(channel)
                .withDeadlineAfter(Timeouts.SECONDS, TimeUnit.SECONDS)
                .check(request);
        assertEquals(ServingStatus.SERVING, response.getStatus());
    }

    @Test
    @DisplayName("Reflection needs no key, and lists the services")
    void reflection() throws Exception {
        var channel = backend.dial(backend.serve(Backend.options(Optional.empty(), KEY)));
        var answer = new Recorder<ServerReflectionResponse>();
        var asker = ServerReflectionGrpc.newStub(channel).serverReflectionInfo(answer);
        asker.onNext(ServerReflectionRequest.newBuilder().setListServices("").build());
        Set<String> names = Timeouts.get(answer.first, "reflection did not answer")
                .getListServicesResponse()
                .getServiceList()
                .stream()
                .map(ServiceResponse::getName)
                .collect(Collectors.toSet());
        asker.onCompleted();
        assertEquals(
                Set.of(
                        ReservationServiceGrpc.SERVICE_NAME,
                        "grpc.health.v1.Health",
                        "grpc.reflection.v1.ServerReflection",
                        "grpc.reflection.v1alpha.ServerReflection"),
                names);
    }

    private String listenError(String address) {
        return assertThrows(
                        ReservationServer.ListenException.class,
                        () -> backend.serve(options(address, Duration.ZERO)))
                .getMessage();
    }

    /** Creates the socket file of a server that no longer runs. */
    private static Path staleSocket(Path path) throws IOException {
        try (var server = ServerSocketChannel.open(StandardProtocolFamily.UNIX)) {
            server.bind(UnixDomainSocketAddress.of(path));
        }
        return path;
    }

    @Test
    @DisplayName("Two servers cannot share a port")
    void takenPort() throws Exception {
        String address = backend.serve(Backend.options());
        String error = listenError(address);
        assertTrue(error.startsWith(address + ": wanted a free address of this machine"), error);
    }

    @Test
    @DisplayName("Two servers cannot share the path of a Unix socket")
    void takenPath(@TempDir Path folder) throws Exception {
        String address = backend.serve(options("unix:" + folder.resolve("s"), Duration.ZERO));
        assertEquals(
                address + ": wanted a free path, but another server listens there; stop that server"
                        + " or choose another path",
                listenError(address));
    }

    @Test
    @DisplayName("It replaces a stale socket file")
    void staleSocketFile(@TempDir Path folder) throws Exception {
        String listen = "unix:" + staleSocket(folder.resolve("s"));
        assertEquals(listen, backend.serve(options(listen, Duration.ZERO)));
    }

    @ParameterizedTest
    @DisplayName("It deletes no file that is not a socket; the error names the type of the file")
    @CsvSource({
        "fifo, a FIFO",
        "file, a regular file",
        "folder, a directory",
        "link, a symbolic link",
        "dangling, a symbolic link",
    })
    void otherFiles(String name, String type, @TempDir Path folder) throws Exception {
        Process mkfifo = new ProcessBuilder("mkfifo", folder.resolve("fifo").toString()).start();
        assertEquals(0, Timeouts.exitCode(mkfifo, "mkfifo did not end"));
        Files.createFile(folder.resolve("file"));
        Files.createDirectory(folder.resolve("folder"));
        Path stale = staleSocket(folder.resolve("stale"));
        Files.createSymbolicLink(folder.resolve("link"), stale);
        Files.createSymbolicLink(folder.resolve("dangling"), folder.resolve("none"));
        String listen = "unix:" + folder.resolve(name);
        assertEquals(
                listen + ": wanted a free path, but " + type + " is there; remove it or choose"
                        + " another path",
                listenError(listen));
        assertTrue(Files.exists(folder.resolve(name), LinkOption.NOFOLLOW_LINKS));
        assertTrue(Files.exists(stale));
    }

    @Test
    @DisplayName("It serves on a Unix socket")
    void unixSocket(@TempDir Path folder) throws Exception {
        String listen = "unix:" + folder.resolve("s");
        assertEquals(listen, backend.serve(options(listen, Duration.ZERO)));
        var loops = new MultiThreadIoEventLoopGroup(1, NioIoHandler.newFactory());
        ManagedChannel channel = NettyChannelBuilder
                .forAddress(
                        UnixDomainSocketAddress.of(folder.resolve("s")),
                        InsecureChannelCredentials.create())
                .channelType(NioDomainSocketChannel.class)
                .eventLoopGroup(loops)
                .build();
        assertEquals(Status.Code.NOT_FOUND, Backend.get(stub(channel)));
        channel.shutdownNow();
        loops.shutdownGracefully(0, 1, TimeUnit.SECONDS);
    }

    @Test
    @DisplayName("It ends an old connection, so that clients look its name up again")
    void connectionAge() throws Exception {
        Duration age = Duration.ofMillis(100);
        String address = backend.serve(new ReservationServer.Options(
                ListenAddress.parse("127.0.0.1:0"),
                Optional.empty(),
                Optional.empty(),
                Duration.ZERO,
                age));
        ManagedChannel channel =
                Grpc.newChannelBuilder(address, InsecureChannelCredentials.create()).build();
        for (int call = 0; call < 2; call++) {
            assertEquals(Status.Code.NOT_FOUND, Backend.get(stub(channel)));
            var ended = new CompletableFuture<Void>();
            channel.notifyWhenStateChanged(ConnectivityState.READY, () -> ended.complete(null));
            Timeouts.get(ended, "the server did not end the connection");
        }
        channel.shutdownNow();
    }

    private static ReservationServer.Options options(String listen, Duration grace) {
        return new ReservationServer.Options(
                ListenAddress.parse(listen), Optional.empty(), Optional.empty(), grace);
    }

    /** Records the first and the second answer of a stream, and its end. */
    private static final class Recorder<T> implements StreamObserver<T> {
        final CompletableFuture<T> first = new CompletableFuture<>();
        final CompletableFuture<T> second = new CompletableFuture<>();
        final CompletableFuture<Status> end = new CompletableFuture<>();

        @Override
        public void onNext(T value) {
            if (!first.complete(value)) {
                second.complete(value);
            }
        }

        @Override
        public void onError(Throwable error) {
            end.complete(Status.fromThrowable(error));
        }

        @Override
        public void onCompleted() {
            end.complete(Status.OK);
        }
    }

    /** A server with a running call, which the clock blocks. */
    private final class Busy {
        final BlockingClock blockingClock = new BlockingClock(new FakeClock());
        final Recorder<GetConferenceResponse> running = new Recorder<>();
        final ReservationServer server;
        final ManagedChannel channel;

        Busy(Duration grace) throws Exception {
            Store store = new Store(10, blockingClock, () -> "1");
            var service = new ReservationService(store, Policy.OPEN);
            server = new ReservationServer(service, options("127.0.0.1:0", grace));
            channel = backend.dial(server.start());
            ReservationServiceGrpc.newStub(channel).getConference(
                    GetConferenceRequest.newBuilder().setConferenceId("x").build(),
                    running);
            blockingClock.awaitBlocked();
        }

        Thread stopping() {
            Thread thread = new Thread(() -> {
                try {
                    server.stop();
                } catch (InterruptedException error) {
                    throw new AssertionError(error);
                }
            });
            thread.start();
            return thread;
        }
    }

    @Test
    @DisplayName("After a stop, health watchers get NOT_SERVING, and the running call its answer")
    void stopsGracefully() throws Exception {
        Busy busy = new Busy(Duration.ofSeconds(Timeouts.SECONDS));
        var watch = new Recorder<HealthCheckResponse>();
        ManagedChannel watcher = busy.channel;
        HealthGrpc.newStub(watcher).watch(HealthCheckRequest.getDefaultInstance(), watch);
        assertEquals(
                ServingStatus.SERVING,
                Timeouts.get(watch.first, "the watcher got no first status").getStatus());
        Thread stopping = busy.stopping();
        assertEquals(
                ServingStatus.NOT_SERVING,
                Timeouts.get(watch.second, "the watcher got no second status").getStatus());
        assertTrue(stopping.isAlive());
        busy.blockingClock.unblock();
        assertEquals(
                Status.Code.NOT_FOUND,
                Timeouts.get(busy.running.end, "the running call got no answer").getCode());
        watcher.shutdownNow();
        Timeouts.join(stopping, "the server did not stop after its last call");
    }

    @Test
    @DisplayName("It cancels a call that takes longer than the grace")
    void stopsWithoutWaiting() throws Exception {
        Busy busy = new Busy(Duration.ZERO);
        Thread stopping = busy.stopping();
        Status status = Timeouts.get(busy.running.end, "the running call was not cancelled");
        assertTrue(
                Set.of(Status.Code.CANCELLED, Status.Code.UNAVAILABLE).contains(status.getCode()),
                status::toString);
        busy.blockingClock.unblock();
        Timeouts.join(stopping, "the server did not stop");
    }
}
