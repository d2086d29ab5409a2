package com.example.reservations;

import io.grpc.Status;

/**
 * An error that the service returns to its caller: a status code and a text.
 *
 * <p>The service does not use gRPC's StatusRuntimeException for this. If the backend calls another
 * server, this call may throw a StatusRuntimeException too, and the caller of the service must not
 * get its text.
 */
final class Fault extends RuntimeException {
    private final Status.Code code;

    Fault(Status.Code code, String text) {
        super(text);
        this.code = code;
    }

    /** Returns the error for a request that breaks the contract. */
    static Fault invalid(String field, String problem) {
        return new Fault(Status.Code.INVALID_ARGUMENT, field + ": " + problem);
    }

    /** Returns the error for a call that was cancelled or whose deadline has passed. */
    static Fault givenUp() {
        return new Fault(Status.Code.CANCELLED, "the caller no longer waits; nothing was done");
    }

    Status status() {
        return code.toStatus().withDescription(getMessage());
    }
}
