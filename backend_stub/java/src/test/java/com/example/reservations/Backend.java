package com.example.reservations;

import io.grpc.Channel;
import io.grpc.ChannelCredentials;
import io.grpc.Grpc;
import io.grpc.InsecureChannelCredentials;
import io.grpc.ManagedChannel;
import io.grpc.Metadata;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import io.grpc.stub.AbstractStub;
import io.grpc.stub.MetadataUtils;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.concurrent.TimeUnit;
import java.util.function.Supplier;
import jicofo.reservation.v1.GetConferenceRequest;
import jicofo.reservation.v1.ReservationServiceGrpc;
import jicofo.reservation.v1.ReservationServiceGrpc.ReservationServiceBlockingStub;
import org.junit.jupiter.api.Assertions;

/** Starts servers on free ports, and opens channels to them. {@code stop} closes all of them. */
final class Backend {
    private final List<ReservationServer> servers = new ArrayList<>();
    private final List<ManagedChannel> channels = new ArrayList<>();

    /** Serves a store with a policy, in plaintext, and returns a client for it. */
    ReservationServiceBlockingStub serve(Store store, Policy policy) throws Exception {
        return stub(dial(start(new ReservationService(store, policy), options())));
    }

    /** Serves an empty store, and returns the address. */
    String serve(ReservationServer.Options options) throws Exception {
        return start(new ReservationService(new Store(10), Policy.OPEN), options);
    }

    String start(ReservationService service, ReservationServer.Options options) throws Exception {
        ReservationServer server = new ReservationServer(service, options);
        String address = server.start();
        servers.add(server);
        return address;
    }

    /** Returns the options of a server in plaintext, on a free port. */
    static ReservationServer.Options options() {
        return options(Optional.empty(), Optional.empty());
    }

    static ReservationServer.Options options(Optional<Tls> tls, Optional<ApiKey> apiKey) {
        return new ReservationServer.Options(
                ListenAddress.parse("127.0.0.1:0"), tls, apiKey, Duration.ZERO);
    }

    ManagedChannel dial(String address) {
        return dial(address, InsecureChannelCredentials.create());
    }

    ManagedChannel dial(String address, ChannelCredentials credentials) {
        ManagedChannel channel = Grpc.newChannelBuilder(address, credentials).build();
        channels.add(channel);
        return channel;
    }

    static ReservationServiceBlockingStub stub(Channel channel) {
        return ReservationServiceGrpc.newBlockingStub(channel)
                .withDeadlineAfter(Timeouts.SECONDS, TimeUnit.SECONDS);
    }

    /** Returns the same client with headers for every call: name, value, name, value. */
    static <S extends AbstractStub<S>> S with(S stub, String... headers) {
        Metadata metadata = new Metadata();
        for (int n = 0; n < headers.length; n += 2) {
            var key = Metadata.Key.of(headers[n], Metadata.ASCII_STRING_MARSHALLER);
            metadata.put(key, headers[n + 1]);
        }
        return stub.withInterceptors(MetadataUtils.newAttachHeadersInterceptor(metadata));
    }

    /** Returns the status of a call that must fail. */
    static Status fault(Supplier<?> call) {
        return Assertions.assertThrows(StatusRuntimeException.class, call::get).getStatus();
    }

    /** Returns the status of a call; NOT_FOUND means that the server accepted the call. */
    static Status.Code get(ReservationServiceBlockingStub stub) {
        var unknown = GetConferenceRequest.newBuilder().setConferenceId("unknown").build();
        return fault(() -> stub.getConference(unknown)).getCode();
    }

    /** Closes all channels, and stops all servers. */
    void stop() throws InterruptedException {
        channels.forEach(ManagedChannel::shutdownNow);
        for (ReservationServer server : servers) {
            server.stop();
        }
    }
}
