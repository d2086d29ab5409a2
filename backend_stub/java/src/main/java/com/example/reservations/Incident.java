package com.example.reservations;

import io.grpc.Context;
import io.grpc.Contexts;
import io.grpc.Metadata;
import io.grpc.ServerCall;
import io.grpc.ServerCallHandler;
import io.grpc.ServerInterceptor;

/** Stores the incident id of a call in its context. The proxy logs the same id. */
final class Incident implements ServerInterceptor {
    private static final Metadata.Key<String> HEADER =
            Metadata.Key.of("x-incident-id", Metadata.ASCII_STRING_MARSHALLER);
    private static final Context.Key<String> ID = Context.keyWithDefault("incident", "");

    /** Returns the id of the call that this thread works on; empty if the call has no id. */
    static String current() {
        return ID.get();
    }

    @Override
    public <Q, R> ServerCall.Listener<Q> interceptCall(
            ServerCall<Q, R> call, Metadata headers, ServerCallHandler<Q, R> next) {
        String id = headers.get(HEADER);
        Context context = Context.current().withValue(ID, id == null ? "" : id);
        return Contexts.interceptCall(context, call, headers, next);
    }
}
