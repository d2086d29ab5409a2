package com.example.reservations;

import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CountDownLatch;

/**
 * SIGTERM or SIGINT, as an event that the main thread waits for.
 *
 * <p>By default, Java ends at once with the exit code 128 plus the signal's number. The shutdown
 * hook of this class delays the end until the main thread has set the exit code.
 */
final class StopSignal {
    private final CountDownLatch asked = new CountDownLatch(1);
    private final CompletableFuture<Integer> exitCode = new CompletableFuture<>();

    /** Installs the hook: a signal then no longer ends the process, only {@code exit} does. */
    void install() {
        Runtime.getRuntime().addShutdownHook(new Thread(() -> {
            asked.countDown();
            // After a signal, halt is the only way to choose the exit code. Nothing runs after it.
            Runtime.getRuntime().halt(exitCode.join());
        }));
    }

    void await() throws InterruptedException {
        asked.await();
    }

    /** Ends the process with this code, after a signal or without one. */
    void exit(int code) {
        exitCode.complete(code);
        System.exit(code);
    }
}
