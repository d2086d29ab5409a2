package com.example.reservations;

import java.io.IOException;
import java.io.InputStream;
import java.util.logging.Level;
import java.util.logging.LogManager;
import java.util.logging.Logger;

/**
 * The log of the process: set up by {@code logging.properties}, and there to the end.
 *
 * <p>Java's own manager takes its handlers away as soon as the process is told to stop, and with
 * them the lines of the calls that are still running.
 */
public final class Logging extends LogManager {
    // Java keeps a logger, and the level that was set for it, only as long as somebody holds it.
    private static Logger ours;

    /** Logs what was asked for as well, not only answers. */
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

    /** Keeps everything as it is: Java calls this when the process is told to stop. */
    @Override
    public void reset() {}
}
