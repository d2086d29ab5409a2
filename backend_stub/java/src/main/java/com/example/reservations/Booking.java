package com.example.reservations;

import java.time.Duration;
import java.time.Instant;
import java.util.Optional;

/**
 * What a conference is to be: who gets which room, when and for how long.
 *
 * @param owner empty where nobody signed in
 * @param duration positive; empty is without limit
 */
record Booking(
        String requestId,
        String room,
        String owner,
        Instant start,
        Optional<Duration> duration,
        RoomOptions options) {

    /**
     * Tells whether the end has passed; a booking without limit has none.
     *
     * <p>The sum cannot overflow: the contract's times end in the year 9999 and its durations at
     * 10,000 years, an Instant in the year 1,000,000,000. A database's timestamp may end sooner.
     */
    boolean isOver(Instant now) {
        return duration.map(start::plus).filter(end -> !now.isBefore(end)).isPresent();
    }
}
