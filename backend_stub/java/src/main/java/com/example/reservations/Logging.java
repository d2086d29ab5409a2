package com.example.reservations;

import java.io.IOException;
import java.io.InputStream;
import java.util.logging.Level;
import java.util.logging.LogManager;
import java.util.logging.Logger;

/**
 * The log of the process: {@code logging.properties} configures it, and it works until the end.
 *
 * <p>Java's own manager removes its handlers as soon as a signal arrives. Then the calls that are
 * still running could not log their lines.
 */
public final class Logging extends LogManager {
    // Java keeps a logger and its level only while there is a reference to the logger.
    private static Logger ours;

    /** Logs the requests too, not only the answers. */
    static void beVerbose() {
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
