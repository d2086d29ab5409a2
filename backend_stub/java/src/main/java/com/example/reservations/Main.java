package com.example.reservations;

import java.io.PrintStream;
import java.util.logging.Level;
import java.util.logging.Logger;
import picocli.CommandLine;
import picocli.CommandLine.Model.OptionSpec;
import picocli.CommandLine.ParameterException;
import picocli.CommandLine.TypeConversionException;

/** The command line: reads the flags, then serves until a signal stops the server. */
public final class Main {
    static final int EXIT_OK = 0;
    static final int EXIT_ERROR = 1;
    static final int EXIT_USAGE = 2;
    static final int EXIT_LISTEN = 3;

    /** An event that stops the server. */
    @FunctionalInterface
    interface Stop {
        void await() throws InterruptedException;
    }

    private Main() {}

    /** Serves until SIGTERM or SIGINT. */
    public static void main(String[] args) {
        // A LogManager reads this property as soon as Java initializes its class. So this line must
        // not be in Logging, which is a LogManager.
        System.setProperty("java.util.logging.manager", Logging.class.getName());
        StopSignal signal = new StopSignal();
        signal.install();
        int code = EXIT_ERROR;
        try {
            code = run(args, System.out, System.err, signal::await);
        } catch (InterruptedException | RuntimeException error) {
            Logger.getLogger(Main.class.getName())
                    .log(Level.SEVERE, "stopped by an unexpected error", error);
        } finally {
            signal.exit(code);
        }
    }

    /** Serves until the stop event, and returns the exit code. */
    static int run(String[] args, PrintStream out, PrintStream err, Stop stop)
            throws InterruptedException {
        Flags flags = new Flags();
        CommandLine line = new CommandLine(flags).setExpandAtFiles(false);
        try {
            line.parseArgs(args);
            if (flags.help) {
                line.usage(out);
                return EXIT_OK;
            }
            return serve(flags, out, stop);
        } catch (ParameterException error) {
            return fail(err, text(error), EXIT_USAGE);
        } catch (Flags.ConflictException error) {
            return fail(err, error.getMessage(), EXIT_USAGE);
        } catch (ReservationServer.ListenException error) {
            return fail(err, "--listen: " + error.getMessage(), EXIT_LISTEN);
        }
    }

    private static int serve(Flags flags, PrintStream out, Stop stop)
            throws Flags.ConflictException,
                    ReservationServer.ListenException,
                    InterruptedException {
        ReservationServer.Options options = flags.options();
        if (flags.verbose()) {
            Logging.logRequests();
        }
        Store store = new Store(flags.maxConferences());
        var server = new ReservationServer(new ReservationService(store, flags.policy()), options);
        String address = server.start();
        try {
            out.println("listening on " + address + " (" + kind(options) + ")");
            out.flush();
            stop.await();
        } finally {
            server.stop();
        }
        return EXIT_OK;
    }

    private static String kind(ReservationServer.Options options) {
        return options.tls().map(tls -> tls.mutual() ? "mTLS" : "TLS").orElse("plaintext");
    }

    /** Returns the text of the error. For the value of a flag, the text begins with the flag. */
    private static String text(ParameterException error) {
        return error.getCause() instanceof TypeConversionException problem
                        && error.getArgSpec() instanceof OptionSpec option
                ? "argument " + option.longestName() + ": " + problem.getMessage()
                : error.getMessage();
    }

    private static int fail(PrintStream err, String text, int code) {
        err.println(Flags.PROGRAM + ": error: " + text);
        return code;
    }
}
