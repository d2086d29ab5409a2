package com.example.reservations;

import io.grpc.BindableService;
import io.grpc.InsecureServerCredentials;
import io.grpc.Server;
import io.grpc.ServerCredentials;
import io.grpc.health.v1.HealthCheckResponse.ServingStatus;
import io.grpc.netty.shaded.io.grpc.netty.NettyServerBuilder;
import io.grpc.netty.shaded.io.netty.channel.EventLoopGroup;
import io.grpc.netty.shaded.io.netty.channel.MultiThreadIoEventLoopGroup;
import io.grpc.netty.shaded.io.netty.channel.nio.NioIoHandler;
import io.grpc.netty.shaded.io.netty.channel.socket.nio.NioServerDomainSocketChannel;
import io.grpc.protobuf.services.HealthStatusManager;
import io.grpc.protobuf.services.ProtoReflectionServiceV1;
import java.io.IOException;
import java.net.ConnectException;
import java.net.UnixDomainSocketAddress;
import java.nio.channels.SocketChannel;
import java.nio.file.Files;
import java.nio.file.LinkOption;
import java.nio.file.Path;
import java.time.Duration;
import java.util.Optional;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.TimeUnit;
import jicofo.reservation.v1.ReservationServiceGrpc;

/** A gRPC server for the service: TLS, an API key, health checking and reflection. */
final class ReservationServer {
    static final Duration DEFAULT_GRACE = Duration.ofSeconds(5);
    static final Duration DEFAULT_CONNECTION_AGE_MAX = Duration.ofMinutes(5);

    // A request has a few hundred bytes, and never more than the largest form that the proxy
    // accepts. With gRPC's default limit, 4 MiB, the store could use too much memory.
    private static final int REQUEST_BYTES_MAX = 256 * 1024;

    // A client may ping an idle connection every 10 s to detect a broken connection early. The
    // network may delay one ping and not the next, so the server accepts an interval of 5 s. With
    // gRPC's default, 5 minutes, the server answers the third ping with GOAWAY (grpc/grpc
    // doc/keepalive.md).
    private static final int PING_SECONDS_MIN = 5;

    // The time that running calls get when their connection is too old.
    private static final int CONNECTION_GRACE_SECONDS = 20;

    // The maximum number of calls that run at the same time. A call on the in-memory store takes
    // microseconds; with a database, this is the maximum number of calls that wait for it.
    private static final int THREADS = 8;

    // The maximum number of open calls on each connection. It limits the calls that wait for a
    // thread. RFC 9113, 6.5.2, recommends at least 100.
    private static final int CALLS_PER_CONNECTION_MAX = 1000;

    /**
     * The options of a server.
     *
     * @param tls empty means plaintext
     * @param apiKey empty means that the server requires no key
     * @param grace the time that running calls get when the server stops
     * @param connectionAgeMax the time after which the server ends a connection. The client then
     *     looks the name of the server up again, so that it finds replicas that were added
     *     (grpc/proposal A9). By default, gRPC keeps a connection forever
     */
    record Options(
            ListenAddress listen,
            Optional<Tls> tls,
            Optional<ApiKey> apiKey,
            Duration grace,
            Duration connectionAgeMax) {

        Options(ListenAddress listen, Optional<Tls> tls, Optional<ApiKey> apiKey, Duration grace) {
            this(listen, tls, apiKey, grace, DEFAULT_CONNECTION_AGE_MAX);
        }
    }

    // The type of a file, as bits of its mode (POSIX sys/stat.h).
    private static final int TYPE_MASK = 0170000;
    private static final int TYPE_SOCKET = 0140000;

    /** The server could not listen on its address. */
    static final class ListenException extends Exception {
        ListenException(ListenAddress listen, String problem) {
            super(listen.text() + ": " + problem);
        }
    }

    private final Options options;
    private final HealthStatusManager health = new HealthStatusManager();
    private final ExecutorService threads = Executors.newFixedThreadPool(THREADS);
    private final Optional<EventLoopGroup> unixLoops;
    private final Server server;

    ReservationServer(ReservationService service, Options options) {
        this.options = options;
        ServerCredentials credentials =
                options.tls().map(Tls::credentials).orElseGet(InsecureServerCredentials::create);
        NettyServerBuilder builder =
                NettyServerBuilder.forAddress(options.listen().socketAddress(), credentials)
                        .executor(threads)
                        .maxInboundMessageSize(REQUEST_BYTES_MAX)
                        .maxConcurrentCallsPerConnection(CALLS_PER_CONNECTION_MAX)
                        .permitKeepAliveTime(PING_SECONDS_MIN, TimeUnit.SECONDS)
                        .permitKeepAliveWithoutCalls(true)
                        .maxConnectionAge(
                                options.connectionAgeMax().toMillis(), TimeUnit.MILLISECONDS)
                        .maxConnectionAgeGrace(CONNECTION_GRACE_SECONDS, TimeUnit.SECONDS)
                        .addService(service)
                        .addService(health.getHealthService())
                        .addService(ProtoReflectionServiceV1.newInstance())
                        .addService(olderReflection());
        options.apiKey().ifPresent(builder::intercept);
        // gRPC calls the interceptor that was added last before the others.
        builder.intercept(new Incident());
        unixLoops = options.listen().unixPath().map(path -> unixLoops(builder));
        server = builder.build();
    }

    /**
     * Starts to serve, and returns the address, with the real port if the port was 0.
     *
     * @throws ListenException if the address is in use or does not belong to this machine
     */
    String start() throws ListenException {
        for (String name : new String[] {"", ReservationServiceGrpc.SERVICE_NAME}) {
            health.setStatus(name, ServingStatus.SERVING);
        }
        try {
            if (options.listen().unixPath().isPresent()) {
                removeStaleSocket(options.listen().unixPath().get());
            }
            server.start();
        } catch (ListenException error) {
            release();
            throw error;
        } catch (IOException error) {
            release();
            throw new ListenException(
                    options.listen(),
                    "wanted a free address of this machine, but could not listen there; stop the"
                            + " server that uses the address, or choose another one (port 0: any"
                            + " free port)");
        }
        return options.listen().withPort(server.getPort());
    }

    /**
     * Stops gracefully: health checks report NOT_SERVING, the server accepts no new calls, and it
     * cancels the calls that still run after the grace.
     */
    void stop() throws InterruptedException {
        health.enterTerminalState();
        server.shutdown();
        if (!server.awaitTermination(options.grace().toMillis(), TimeUnit.MILLISECONDS)) {
            server.shutdownNow().awaitTermination(1, TimeUnit.SECONDS);
        }
        release();
    }

    private void release() {
        threads.shutdown();
        unixLoops.ifPresent(loops -> loops.shutdownGracefully(0, 1, TimeUnit.SECONDS));
    }

    /**
     * Deletes the socket file of a server that no longer runs. It follows no symbolic link.
     *
     * @throws ListenException if another server listens on the path, or if the file is not a socket
     */
    private void removeStaleSocket(Path path) throws IOException, ListenException {
        if (!Files.exists(path, LinkOption.NOFOLLOW_LINKS)) {
            return;
        }
        // BasicFileAttributes cannot tell a socket from a FIFO or a device.
        int mode = (Integer) Files.getAttribute(path, "unix:mode", LinkOption.NOFOLLOW_LINKS);
        if ((mode & TYPE_MASK) != TYPE_SOCKET) {
            throw new ListenException(
                    options.listen(),
                    "wanted a free path, but " + fileType(mode)
                            + " is there; remove it or choose another path");
        }
        try {
            SocketChannel.open(UnixDomainSocketAddress.of(path)).close();
        } catch (ConnectException nobodyListens) {
            Files.delete(path);
            return;
        }
        throw new ListenException(
                options.listen(),
                "wanted a free path, but another server listens there; stop that server or choose"
                        + " another path");
    }

    private static String fileType(int mode) {
        return switch (mode & TYPE_MASK) {
            case 0100000 -> "a regular file";
            case 0120000 -> "a symbolic link";
            case 0040000 -> "a directory";
            case 0010000 -> "a FIFO";
            default -> "a device";
        };
    }

    private static EventLoopGroup unixLoops(NettyServerBuilder builder) {
        var loops = new MultiThreadIoEventLoopGroup(NioIoHandler.newFactory());
        builder.channelType(NioServerDomainSocketChannel.class)
                .bossEventLoopGroup(loops)
                .workerEventLoopGroup(loops);
        return loops;
    }

    /** Returns the reflection service v1alpha, which tools from before 2023 use. */
    @SuppressWarnings("deprecation")
    private static BindableService olderReflection() {
        return io.grpc.protobuf.services.ProtoReflectionService.newInstance();
    }
}
