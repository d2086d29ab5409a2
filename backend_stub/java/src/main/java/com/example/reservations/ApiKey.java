package com.example.reservations;

import io.grpc.Metadata;
import io.grpc.ServerCall;
import io.grpc.ServerCallHandler;
import io.grpc.ServerInterceptor;
import io.grpc.Status;
import io.grpc.health.v1.HealthGrpc;
import io.grpc.reflection.v1.ServerReflectionGrpc;
import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.util.Set;
import java.util.logging.Logger;

/** Accepts a call that carries the API key. Health checks and reflection need no key. */
final class ApiKey implements ServerInterceptor {
    static final String DEFAULT_HEADER = "x-api-key";

    // Callers without an API key use these services: probes and command line tools.
    private static final Set<String> KEYLESS_SERVICES = Set.of(
            HealthGrpc.SERVICE_NAME,
            ServerReflectionGrpc.SERVICE_NAME,
            io.grpc.reflection.v1alpha.ServerReflectionGrpc.SERVICE_NAME);

    private static final Logger LOGGER = Logger.getLogger(ApiKey.class.getName());

    private final Metadata.Key<String> header;
    private final byte[] key;

    /**
     * Makes an interceptor that requires this key.
     *
     * @param header the metadata key that carries the API key
     */
    ApiKey(String header, Secret key) {
        this.header = Metadata.Key.of(header, Metadata.ASCII_STRING_MARSHALLER);
        this.key = bytes(key.value());
    }

    @Override
    public <Q, R> ServerCall.Listener<Q> interceptCall(
            ServerCall<Q, R> call, Metadata headers, ServerCallHandler<Q, R> next) {
        var method = call.getMethodDescriptor();
        if (KEYLESS_SERVICES.contains(method.getServiceName()) || hasKey(headers)) {
            return next.startCall(call, headers);
        }
        LOGGER.warning(
                () -> method.getFullMethodName() + ": refused, the call has no valid API key");
        call.close(
                Status.UNAUTHENTICATED.withDescription(
                        header.name()
                                + ": wanted the API key of this server, got no key or another key"),
                new Metadata());
        return new ServerCall.Listener<>() {};
    }

    private boolean hasKey(Metadata headers) {
        Iterable<String> values = headers.getAll(header);
        if (values != null) {
            for (String value : values) {
                // The comparison takes constant time, so that nobody can find the key by measuring
                // how long an answer takes.
                if (MessageDigest.isEqual(bytes(value), key)) {
                    return true;
                }
            }
        }
        return false;
    }

    private static byte[] bytes(String text) {
        return text.getBytes(StandardCharsets.US_ASCII);
    }
}
