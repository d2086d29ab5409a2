package com.example.reservations;

import java.time.Duration;
import java.time.Instant;
import java.util.Optional;

/** Bookings for tests. */
final class Bookings {
    private Bookings() {}

    /** Returns a booking without limit. */
    static Booking booking(Instant start, String requestId, String room) {
        return new Booking(requestId, room, "", start, Optional.empty(), RoomOptions.NONE);
    }

    /** Returns a booking with a duration. */
    static Booking booking(Instant start, String requestId, String room, Duration duration) {
        return new Booking(requestId, room, "", start, Optional.of(duration), RoomOptions.NONE);
    }
}
