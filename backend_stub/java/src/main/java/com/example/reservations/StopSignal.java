package com.example.reservations;

import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CountDownLatch;

/**
 * Lets the main thread wait for SIGTERM or SIGINT, and then choose the exit code.
 *
 * <p>By default, a signal ends the process with the exit code 128 plus the number of the signal.
 * The shutdown hook of this class delays the end until the main thread has set the exit code.
 */
final class StopSignal {
    private final CountDownLatch asked = new CountDownLatch(1);
    private final CompletableFuture<Integer> exitCode = new CompletableFuture<>();

    /** Installs the hook. From then on, a signal ends the process only after {@code exit}. */
    void install() {
        Runtime.getRuntime().addShutdownHook(new Thread(() -> {
            asked.countDown();
            // In a shutdown hook, only halt can set the exit code. It ends the process at once.
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
