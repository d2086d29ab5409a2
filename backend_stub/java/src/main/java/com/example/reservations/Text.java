package com.example.reservations;

import java.io.IOException;
import java.nio.file.AccessDeniedException;
import java.nio.file.NoSuchFileException;

/** Makes text from callers safe for a single line of a log or of an error message. */
final class Text {
    /** The contract's limit for Room.raw. */
    private static final int QUOTED_MAX = 1023;

    private Text() {}

    /**
     * Returns the text in quotes on a single line. It escapes characters that are not printable,
     * and cuts the text after 1023 characters.
     */
    static String quoted(String text) {
        var line = new StringBuilder("'");
        text.codePoints().limit(QUOTED_MAX).forEach(character -> append(line, character));
        if (text.codePointCount(0, text.length()) > QUOTED_MAX) {
            line.append("...");
        }
        return line.append('\'').toString();
    }

    /** Returns whether a character is printable: a letter, a digit, a symbol or a plain space. */
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

    /** Returns the reason why a file is not readable; Java's own text is often only the path. */
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
