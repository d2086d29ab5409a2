package com.example.reservations;

import java.time.Duration;
import java.time.Instant;
import java.util.Optional;

/**
 * The data of a conference to create: the owner, the room, the start, the duration and the options.
 *
 * @param owner empty if the user did not sign in
 * @param duration positive; empty means no limit
 */
record Booking(
        String requestId,
        String room,
        String owner,
        Instant start,
        Optional<Duration> duration,
        RoomOptions options) {

    /**
     * Returns whether the end has passed; a booking without a duration has no end.
     *
     * <p>The sum cannot overflow: the latest start is in the year 9999, the longest duration is
     * 10,000 years, and an Instant can hold the year 1,000,000,000. The timestamp of a database may
     * have a smaller maximum.
     */
    boolean isOver(Instant now) {
        return duration.map(start::plus).filter(end -> !now.isBefore(end)).isPresent();
    }
}
