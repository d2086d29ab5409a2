package com.example.reservations;

import java.io.IOException;
import java.nio.file.AccessDeniedException;
import java.nio.file.NoSuchFileException;

/** Text that others wrote, made fit for one line of a log or of a message. */
final class Text {
    /** As long as a room may be. */
    private static final int QUOTED_MAX = 1023;

    private Text() {}

    /**
     * Returns the text in quotes, on one line: what cannot be seen is escaped, and what is longer
     * than any room is cut.
     */
    static String quoted(String text) {
        var line = new StringBuilder("'");
        text.codePoints().limit(QUOTED_MAX).forEach(character -> append(line, character));
        if (text.codePointCount(0, text.length()) > QUOTED_MAX) {
            line.append("...");
        }
        return line.append('\'').toString();
    }

    /** Tells whether a character has a shape of its own, as letters and a plain space have. */
    static boolean isPrintable(int character) {
        return switch (Character.getType(character)) {
            case Character.CONTROL,
                    Character.FORMAT,
                    Character.SURROGATE,
                    Character.PRIVATE_USE,
                    Character.UNASSIGNED,
                    Character.LINE_SEPARATOR,
                    Character.PARAGRAPH_SEPARATOR -> false;
            case Character.SPACE_SEPARATOR -> character == ' ';
            default -> true;
        };
    }

    /** Returns why a file could not be read; Java's own text is often no more than its path. */
    static String reason(IOException error) {
        if (error instanceof NoSuchFileException) {
            return "No such file or directory";
        }
        return error instanceof AccessDeniedException ? "Permission denied" : error.getMessage();
    }

    private static void append(StringBuilder line, int character) {
        if (character == '\'' || character == '\\') {
            line.append('\\').appendCodePoint(character);
        } else if (isPrintable(character)) {
            line.appendCodePoint(character);
        } else {
            line.append(String.format("\\u{%x}", character));
        }
    }
}
