package com.example.reservations;

import io.grpc.Status;

/**
 * An error answer that the service chose: a status, and a text for the caller's log.
 *
 * <p>It is not gRPC's own StatusRuntimeException. A call from the backend to another server throws
 * that too, and the caller must not get the text of another server.
 */
final class Fault extends RuntimeException {
    private final Status.Code code;

    Fault(Status.Code code, String text) {
        super(text);
        this.code = code;
    }

    /** Returns the fault for a request that breaks the contract. */
    static Fault invalid(String field, String problem) {
        return new Fault(Status.Code.INVALID_ARGUMENT, field + ": " + problem);
    }

    /** Returns the fault for a call whose deadline has passed, or that its caller cancelled. */
    static Fault givenUp() {
        return new Fault(Status.Code.CANCELLED, "the caller no longer waits; nothing was done");
    }

    Status status() {
        return code.toStatus().withDescription(getMessage());
    }
}
