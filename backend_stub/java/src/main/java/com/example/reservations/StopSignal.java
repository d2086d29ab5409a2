package com.example.reservations;

import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CountDownLatch;

/**
 * SIGTERM or SIGINT, as an event that the main thread waits for.
 *
 * <p>Left alone, Java ends at once and with 128 plus the signal's number. Here its shutdown hook
 * holds it until the main thread has said with which code to exit.
 */
final class StopSignal {
    private final CountDownLatch asked = new CountDownLatch(1);
    private final CompletableFuture<Integer> exitCode = new CompletableFuture<>();

    /** From now on a signal does not end the process; {@code exit} does. */
    void install() {
        Runtime.getRuntime().addShutdownHook(new Thread(() -> {
            asked.countDown();
            // The only way to choose the code once a signal has come; nothing runs after it.
            Runtime.getRuntime().halt(exitCode.join());
        }));
    }

    void await() throws InterruptedException {
        asked.await();
    }

    /** Ends the process, whether a signal has come or not. */
    void exit(int code) {
        exitCode.complete(code);
        System.exit(code);
    }
}
