package com.example.reservations;

import java.time.Instant;
import java.time.InstantSource;
import java.util.concurrent.atomic.AtomicLong;
import java.util.function.Supplier;

/**
 * Returns ids: decimal numbers of 14 digits. It never returns the same id twice. This class is
 * thread-safe.
 *
 * <p>An id is the time in units of 0.1 ms since 1970, or the last id plus one if that is larger.
 * After a restart, the ids are larger than the ids of the process before, so the process does not
 * have to store the last id. This is true if nobody sets the clock back, and if the backend does
 * not create more than 10,000 conferences per second for a long time.
 *
 * <p>Jicofo accepts only numbers as ids. A proxy with only this backend passes ids below
 * 90000000000000 to Jicofo unchanged. The ids stay below that number until the year 2255.
 *
 * <p>Several processes behind one address need a common source of ids, such as a database sequence.
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
