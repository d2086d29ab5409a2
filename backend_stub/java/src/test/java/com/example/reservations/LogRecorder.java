package com.example.reservations;

import java.util.List;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.logging.Handler;
import java.util.logging.Level;
import java.util.logging.LogRecord;
import java.util.logging.Logger;

/** Records the log of the stub. */
final class LogRecorder extends Handler implements AutoCloseable {
    private final Logger logger = Logger.getLogger(LogRecorder.class.getPackageName());
    private final List<LogRecord> records = new CopyOnWriteArrayList<>();

    LogRecorder() {
        logger.setLevel(Level.FINE);
        logger.addHandler(this);
    }

    /** Returns the messages of a level. */
    List<String> messages(Level level) {
        return records.stream()
                .filter(record -> record.getLevel().equals(level))
                .map(LogRecord::getMessage)
                .toList();
    }

    /** Returns the errors that were logged. */
    List<Throwable> errors() {
        return records.stream()
                .map(LogRecord::getThrown)
                .filter(error -> error != null)
                .toList();
    }

    @Override
    public void publish(LogRecord record) {
        records.add(record);
    }

    @Override
    public void flush() {}

    @Override
    public void close() {
        logger.removeHandler(this);
        logger.setLevel(null);
    }
}
