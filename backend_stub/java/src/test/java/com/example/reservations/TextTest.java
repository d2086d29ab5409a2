package com.example.reservations;

import static org.junit.jupiter.api.Assertions.assertEquals;

import org.junit.jupiter.api.DisplayName;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

@DisplayName("Quoted text")
final class TextTest {
    @ParameterizedTest
    @DisplayName("stays on one line and inside its quotes")
    @CsvSource(
            quoteCharacter = '"',
            value = {
                "caf\u00e9 1, 'caf\u00e9 1'",
                "\"two\nlines\", 'two\\u{a}lines'",
                "\"\u001b[31m\", '\\u{1b}[31m'",
                "\"\u2028\", '\\u{2028}'",
                "\"\u202e\", '\\u{202e}'",
                "it's, 'it\\'s'",
                "a\\b, 'a\\\\b'",
                "\uD83D\uDE00, '\uD83D\uDE00'",
            })
    void quotes(String text, String quoted) {
        assertEquals(quoted, Text.quoted(text));
    }

    @Test
    @DisplayName("is cut after 1023 characters")
    void isCut() {
        assertEquals("'" + "x".repeat(1023) + "'", Text.quoted("x".repeat(1023)));
        assertEquals("'" + "x".repeat(1023) + "...'", Text.quoted("x".repeat(100_000)));
    }
}
