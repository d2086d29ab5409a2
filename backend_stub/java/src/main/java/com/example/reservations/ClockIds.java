package com.example.reservations;

import java.time.Instant;
import java.time.InstantSource;
import java.util.concurrent.atomic.AtomicLong;
import java.util.function.Supplier;

/**
 * Ids that are never used again, as plain integers of 14 digits. Safe for threads.
 *
 * <p>An id is the time in units of 0.1 ms since 1970, or the last id plus one when that is more. So
 * a restarted process goes on above the ids of its predecessor, without a file, as long as the
 * clock is not set back and fewer than 10,000 conferences a second are created for long. Jicofo
 * takes nothing but numbers for ids; 14 digits pass through the proxy as they are, and these stay
 * below 90000000000000 until the year 2255.
 *
 * <p>Several processes behind one address need ids from what they share: a database.
 */
final class ClockIds implements Supplier<String> {
    private static final int UNITS_PER_SECOND = 10_000;
    private static final int NANOS_PER_UNIT = 100_000;

    private final InstantSource clock;
    private final AtomicLong last = new AtomicLong();

    ClockIds(InstantSource clock) {
        this.clock = clock;
    }

    @Override
    public String get() {
        Instant now = clock.instant();
        long units = now.getEpochSecond() * UNITS_PER_SECOND + now.getNano() / NANOS_PER_UNIT;
        return Long.toString(last.updateAndGet(before -> Math.max(before + 1, units)));
    }
}
