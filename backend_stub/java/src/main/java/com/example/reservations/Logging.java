package com.example.reservations;

import java.io.IOException;
import java.io.InputStream;
import java.util.logging.Level;
import java.util.logging.LogManager;
import java.util.logging.Logger;

/**
 * The log manager of the process. {@code logging.properties} configures it.
 *
 * <p>Java's own log manager removes its handlers as soon as a signal arrives. Then the running
 * calls could not log their lines.
 */
public final class Logging extends LogManager {
    // Java keeps a logger and its level only while there is a reference to the logger.
    private static Logger ours;

    /** Logs each create request, in addition to its answer. */
    static void logRequests() {
        ours = Logger.getLogger(Logging.class.getPackageName());
        ours.setLevel(Level.FINE);
    }

    @Override
    public void readConfiguration() throws IOException {
        if (System.getProperty("java.util.logging.config.file") != null) {
            super.readConfiguration();
            return;
        }
        try (InputStream file = Logging.class.getResourceAsStream("logging.properties")) {
            readConfiguration(file);
        }
    }

    /** Does nothing. Java calls this method when a signal arrives. */
    @Override
    public void reset() {}
}
