package com.example.reservations;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.time.Instant;
import java.time.InstantSource;
import java.util.Iterator;
import java.util.List;
import java.util.stream.Stream;
import org.junit.jupiter.api.DisplayName;
import org.junit.jupiter.api.Test;

@DisplayName("The ids")
final class ClockIdsTest {
    @Test
    @DisplayName("have 14 digits, and stay below 90000000000000 until the year 2255")
    void areNumbers() {
        var latest = new ClockIds(InstantSource.fixed(Instant.ofEpochSecond(8_999_999_999L)));
        assertEquals("89999999990000", latest.get());
        String now = new ClockIds(InstantSource.system()).get();
        assertTrue(now.matches("[1-8][0-9]{13}"), now);
    }

    @Test
    @DisplayName("rise even if the clock stands still or goes back")
    void rise() {
        Iterator<Instant> times =
                Stream.of(1000L, 1000L, 500L, 2000L).map(Instant::ofEpochMilli).iterator();
        ClockIds ids = new ClockIds(times::next);
        List<String> given = Stream.generate(ids).limit(4).toList();
        assertEquals(List.of("10000", "10001", "10002", "20000"), given);
    }

    @Test
    @DisplayName("are larger than the ids of the process before")
    void goOnAfterARestart() {
        Instant start = Instant.parse("2030-01-02T03:04:05.678912345Z");
        String last = Stream.generate(new ClockIds(InstantSource.fixed(start)))
                .limit(50)
                .reduce("", (before, next) -> next);
        String first = new ClockIds(InstantSource.fixed(start.plusSeconds(1))).get();
        assertTrue(Long.parseLong(last) < Long.parseLong(first), last + " < " + first);
    }
}
