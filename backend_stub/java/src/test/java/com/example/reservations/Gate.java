package com.example.reservations;

import java.time.Instant;
import java.time.InstantSource;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;

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
            await(opened);
        }
        return clock.instant();
    }

    /** Waits until somebody is held. */
    void awaitEntered() {
        await(entered);
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

    private static void await(CountDownLatch latch) {
        try {
            if (!latch.await(20, TimeUnit.SECONDS)) {
                throw new AssertionError("waited for 20 s");
            }
        } catch (InterruptedException error) {
            throw new AssertionError(error);
        }
    }
}
