package com.example.reservations;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTimeoutPreemptively;

import java.time.Duration;
import org.junit.jupiter.api.DisplayName;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

@DisplayName("A pattern for names")
final class GlobTest {
    @ParameterizedTest
    @DisplayName("matches the whole name, in upper or lower case; only * and ? are special")
    @CsvSource({
        "board, board, true",
        "board, board-1, false",
        "board-*, board-1, true",
        "board-*, board-, true",
        "Board-*, bOARD-1, true",
        "board-*, keyboard-1, false",
        "*, anything, true",
        "*-board, a-board-board, true",
        "a*b*c, a-b-b-c, true",
        "a*b*c, a-c-b, false",
        "*b*b*, b, false",
        "room?, room1, true",
        "room?, room, false",
        "?, \uD83D\uDE00, true",
        "caf\u00e9, caf\u00c9, true",
        "a.c, abc, false",
        "[a], a, false",
        "[a], [A], true",
        "a\\Eb, a\\Eb, true",
    })
    void matches(String pattern, String name, boolean isMatch) {
        assertEquals(isMatch, new Glob(pattern).matches(name));
    }

    @Test
    @DisplayName("matches a name of two lines")
    void twoLines() {
        assertEquals(true, new Glob("two*lines").matches("two\nlines"));
    }

    @Test
    @DisplayName("is fast for every name, even with many stars")
    void manyStars() {
        Glob glob = new Glob("*a".repeat(20) + "*b");
        assertTimeoutPreemptively(
                Duration.ofSeconds(Timeouts.SECONDS),
                () -> assertFalse(glob.matches("a".repeat(1000))),
                "the match with many stars did not end");
    }
}
