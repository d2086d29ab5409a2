package com.example.reservations;

import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import java.util.function.BooleanSupplier;

/** Waits with a timeout. After the timeout, the test fails; the text says what did not happen. */
final class Timeouts {
    /** The maximum time that a test waits for an event. */
    static final int SECONDS = 20;

    /** The maximum time that a test waits for a process. A JVM starts slowly on a busy machine. */
    private static final int PROCESS_SECONDS = 60;

    private Timeouts() {}

    /** Waits until the latch is at zero. */
    static void await(CountDownLatch latch, String problem) {
        await(latch, SECONDS, problem);
    }

    /** Waits until the latch is at zero, for at most this number of seconds. */
    static void await(CountDownLatch latch, int seconds, String problem) {
        try {
            if (!latch.await(seconds, TimeUnit.SECONDS)) {
                throw tooLong(seconds, problem);
            }
        } catch (InterruptedException error) {
            throw new AssertionError(error);
        }
    }

    /** Waits for a result and returns it. */
    static <T> T get(Future<T> result, String problem) throws InterruptedException {
        try {
            return result.get(SECONDS, TimeUnit.SECONDS);
        } catch (TimeoutException error) {
            throw tooLong(SECONDS, problem);
        } catch (ExecutionException error) {
            throw new AssertionError(error.getCause());
        }
    }

    /** Waits until the thread has ended. */
    static void join(Thread thread, String problem) throws InterruptedException {
        thread.join(TimeUnit.SECONDS.toMillis(SECONDS));
        if (thread.isAlive()) {
            throw tooLong(SECONDS, problem);
        }
    }

    /** Waits until the condition is true. */
    static void until(BooleanSupplier condition, String problem) throws InterruptedException {
        long end = System.nanoTime() + TimeUnit.SECONDS.toNanos(SECONDS);
        while (!condition.getAsBoolean()) {
            if (System.nanoTime() > end) {
                throw tooLong(SECONDS, problem);
            }
            Thread.sleep(1);
        }
    }

    /** Waits until the process has ended, and returns its exit code. */
    static int exitCode(Process process, String problem) throws InterruptedException {
        if (!process.waitFor(PROCESS_SECONDS, TimeUnit.SECONDS)) {
            process.destroyForcibly();
            throw tooLong(PROCESS_SECONDS, problem);
        }
        return process.exitValue();
    }

    private static AssertionError tooLong(int seconds, String problem) {
        return new AssertionError("waited " + seconds + " s: " + problem);
    }
}
