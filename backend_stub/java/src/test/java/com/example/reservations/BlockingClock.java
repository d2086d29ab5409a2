package com.example.reservations;

import java.time.Instant;
import java.time.InstantSource;
import java.util.concurrent.CountDownLatch;

/**
 * A clock that can block the threads that read it. The store reads the clock while it holds its
 * lock, so a blocked thread keeps that lock.
 */
final class BlockingClock implements InstantSource {
    private final CountDownLatch blocked = new CountDownLatch(1);
    private final CountDownLatch unblocked = new CountDownLatch(1);
    private final InstantSource clock;
    private volatile boolean isBlocking = true;

    /** Makes a clock that blocks each thread until the test calls {@code unblock}. */
    BlockingClock(InstantSource clock) {
        this.clock = clock;
    }

    /** Makes a clock that does not block before the test calls {@code block}. */
    static BlockingClock unblocked(InstantSource clock) {
        BlockingClock result = new BlockingClock(clock);
        result.isBlocking = false;
        return result;
    }

    @Override
    public Instant instant() {
        if (isBlocking) {
            blocked.countDown();
            // This wait is longer than the waits of a test, so that the test is the first to fail.
            Timeouts.await(
                    unblocked, 2 * Timeouts.SECONDS, "the test did not unblock the clock");
        }
        return clock.instant();
    }

    /** Waits until a thread is blocked. */
    void awaitBlocked() {
        Timeouts.await(blocked, "no call read the clock");
    }

    /** Blocks each thread that reads the clock from now on. */
    void block() {
        isBlocking = true;
    }

    /** Unblocks all threads, and blocks no thread from now on. */
    void unblock() {
        isBlocking = false;
        unblocked.countDown();
    }
}
