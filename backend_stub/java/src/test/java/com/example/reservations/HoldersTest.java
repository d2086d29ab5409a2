package com.example.reservations;

import static com.example.reservations.Bookings.booking;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertInstanceOf;

import java.time.Duration;
import java.util.List;
import java.util.Optional;
import java.util.concurrent.CyclicBarrier;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.stream.IntStream;
import org.junit.jupiter.api.DisplayName;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** The rows of the holders: which proxies have a conference. */
final class HoldersTest {
    private final FakeClock clock = new FakeClock();
    private final Store store =
            new Store(Store.DEFAULT_MAX_CONFERENCES, clock, new ClockIds(clock));

    private Outcome create(String requestId, String room, Hold hold) {
        return store.create(booking(clock.instant(), requestId, room), hold);
    }

    private Conference granted(String requestId, String room, Hold hold) {
        return assertInstanceOf(Outcome.Granted.class, create(requestId, room, hold)).conference();
    }

    private Store.Deletion delete(Conference conference, Hold hold) {
        return store.delete(conference.id(), hold, () -> false);
    }

    private Store.Deletion withdraw(String room, Hold hold) {
        return store.withdraw(room, hold, () -> false);
    }

    @Test
    @DisplayName("A grant, a repetition and a conflict add a row; the last row ends the conference")
    void lastRow() {
        Conference first = granted("r1", "board", new Hold("a", 5));
        granted("r1", "board", new Hold("b", 1));
        create("r2", "board", new Hold("c", 2));
        create("r3", "board", Hold.NO_HOLDER);
        assertEquals(Store.Deletion.RELEASED, delete(first, new Hold("a", 5)));
        assertEquals(Store.Deletion.RELEASED, delete(first, Hold.NO_HOLDER));
        assertEquals(Store.Deletion.RELEASED, withdraw("board", new Hold("b", 3)));
        assertEquals(Optional.of(first), store.get(first.id()));
        assertEquals(Store.Deletion.DELETED, delete(first, new Hold("c", 2)));
        assertEquals(Optional.empty(), store.get(first.id()));
    }

    @Test
    @DisplayName("A row has the greatest hold of its holder, and each answer has the row's hold")
    void greatestHold() {
        Conference first = granted("r1", "board", new Hold("a", 5));
        assertEquals(new Outcome.Granted(first, 7), create("r1", "board", new Hold("a", 7)));
        assertEquals(new Outcome.Granted(first, 7), create("r1", "board", new Hold("a", 6)));
        assertEquals(new Outcome.Held(first, 9), create("r2", "board", new Hold("a", 9)));
        assertEquals(new Outcome.Held(first, 9), create("r2", "board", new Hold("a", 8)));
        assertEquals(new Outcome.Held(first, 2), create("r2", "board", new Hold("b", 2)));
    }

    @ParameterizedTest(name = "{0} {1}")
    @CsvSource({"a, 4", "b, 9", "'', 0"})
    @DisplayName("A smaller hold, and a holder without a row, change nothing")
    void changesNothing(String holder, long number) {
        Conference first = granted("r1", "board", new Hold("a", 5));
        Hold hold = new Hold(holder, number);
        assertEquals(Store.Deletion.NOT_CHANGED, delete(first, hold));
        assertEquals(Store.Deletion.NOT_CHANGED, withdraw("board", hold));
        assertEquals(Optional.of(first), store.get(first.id()));
    }

    @Test
    @DisplayName("A withdrawal for a free room changes nothing")
    void freeRoom() {
        Conference first = granted("r1", "board", new Hold("a", 5));
        assertEquals(Store.Deletion.NOTHING_TO_DELETE, withdraw("hall", new Hold("a", 5)));
        assertEquals(Optional.of(first), store.get(first.id()));
    }

    @Test
    @DisplayName("The store does not carry out a withdrawal whose caller has given up")
    void withdrawalGivenUp() {
        Conference first = granted("r1", "board", new Hold("a", 5));
        assertEquals(
                Store.Deletion.GIVEN_UP, store.withdraw("board", new Hold("a", 5), () -> true));
        assertEquals(Optional.of(first), store.get(first.id()));
    }

    @Test
    @DisplayName("No row keeps a conference after its end")
    void end() {
        Duration minute = Duration.ofMinutes(1);
        store.create(booking(clock.instant(), "r1", "board", minute), new Hold("a", 5));
        clock.advance(minute);
        Outcome second = create("r2", "board", new Hold("b", 1));
        assertEquals(1, assertInstanceOf(Outcome.Granted.class, second).hold());
    }

    @Test
    @DisplayName("If all holders release a conference at the same time, it is deleted")
    void atOnce() throws Exception {
        int holders = 4;
        int rooms = 200;
        ExecutorService threads = Executors.newFixedThreadPool(holders);
        CyclicBarrier together = new CyclicBarrier(holders);
        List<Future<?>> releases = IntStream.range(0, holders)
                .<Future<?>>mapToObj(holder -> threads.submit(() -> {
                    for (int room = 0; room < rooms; room++) {
                        Hold hold = new Hold("holder" + holder, 1);
                        Conference held = granted("r" + room, "room" + room, hold);
                        together.await();
                        delete(held, hold);
                    }
                    return null;
                }))
                .toList();
        for (Future<?> release : releases) {
            Timeouts.get(release, "a holder did not end");
        }
        threads.shutdown();
        assertEquals(0, store.size());
    }
}
