package com.example.reservations;

import java.time.Instant;
import java.time.InstantSource;
import java.util.concurrent.CountDownLatch;

/**
 * A clock that blocks each thread that asks for the time until the test opens the gate. The store
 * asks for the time while it holds its lock, so a blocked thread keeps that lock.
 */
final class Gate implements InstantSource {
    private final CountDownLatch entered = new CountDownLatch(1);
    private final CountDownLatch opened = new CountDownLatch(1);
    private final InstantSource clock;
    private volatile boolean isShut = true;

    Gate(InstantSource clock) {
        this.clock = clock;
    }

    @Override
    public Instant instant() {
        if (isShut) {
            entered.countDown();
            // Longer than a test waits, so that the test is the first to fail.
            Patience.await(opened, 2 * Patience.SECONDS, "the test did not open the gate");
        }
        return clock.instant();
    }

    /** Waits until a thread is blocked. */
    void awaitEntered() {
        Patience.await(entered, "no call asked the clock for the time");
    }

    /** Lets all threads through from now on. */
    void open() {
        isShut = false;
        opened.countDown();
    }

    /** Returns an open gate, which lets all threads through until it is shut. */
    static Gate opened(InstantSource clock) {
        Gate gate = new Gate(clock);
        gate.isShut = false;
        return gate;
    }

    void shut() {
        isShut = true;
    }
}
