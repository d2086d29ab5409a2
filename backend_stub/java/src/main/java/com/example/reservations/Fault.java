package com.example.reservations;

import io.grpc.Status;

/**
 * A call that fails on purpose, with a status and a text for the caller's log.
 *
 * <p>Not gRPC's own StatusRuntimeException: that also comes out of calls which a backend makes
 * itself, and what another server said is nothing to pass on.
 */
final class Fault extends RuntimeException {
    private final Status.Code code;

    Fault(Status.Code code, String text) {
        super(text);
        this.code = code;
    }

    /** A request that breaks the contract. */
    static Fault invalid(String field, String problem) {
        return new Fault(Status.Code.INVALID_ARGUMENT, field + ": " + problem);
    }

    /** A call whose deadline passed, or that its caller cancelled: nobody waits for the answer. */
    static Fault givenUp() {
        return new Fault(Status.Code.CANCELLED, "the call was given up before it was carried out");
    }

    Status status() {
        return code.toStatus().withDescription(getMessage());
    }
}
