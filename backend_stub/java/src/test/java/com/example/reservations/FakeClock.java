package com.example.reservations;

import java.time.Duration;
import java.time.Instant;
import java.time.InstantSource;

/** A clock that moves only when the test advances it. */
final class FakeClock implements InstantSource {
    private volatile Instant now = Instant.parse("2030-01-02T03:04:05Z");

    @Override
    public Instant instant() {
        return now;
    }

    void advance(Duration span) {
        now = now.plus(span);
    }
}
