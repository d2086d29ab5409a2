package com.example.reservations;

import java.time.Instant;
import java.time.InstantSource;
import java.util.concurrent.CountDownLatch;

/** A clock that holds whoever asks it for the time, and the store's lock with it, until opened. */
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

    /** Waits until somebody is held. */
    void awaitEntered() {
        Patience.await(entered, "no call asked the clock for the time");
    }

    /** Lets everybody through from now on. */
    void open() {
        isShut = false;
        opened.countDown();
    }

    /** Lets everybody through until it is shut. */
    static Gate opened(InstantSource clock) {
        Gate gate = new Gate(clock);
        gate.isShut = false;
        return gate;
    }

    void shut() {
        isShut = true;
    }
}
