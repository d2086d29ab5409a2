package com.example.reservations;

import static com.example.reservations.Bookings.booking;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertInstanceOf;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.time.Duration;
import java.time.Instant;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.OptionalInt;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.stream.IntStream;
import org.junit.jupiter.api.DisplayName;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

@DisplayName("The store, without gRPC")
final class StoreTest {
    private static final Duration MINUTE = Duration.ofMinutes(1);

    private final FakeClock clock = new FakeClock();
    private final Store store = store(Store.DEFAULT_MAX_CONFERENCES);

    private Store store(int maxConferences) {
        return new Store(maxConferences, clock, new ClockIds(clock));
    }

    private Conference granted(Booking booking) {
        return assertInstanceOf(Outcome.Granted.class, create(store, booking)).conference();
    }

    private static Outcome create(Store store, Booking booking) {
        return store.create(booking, Hold.NO_HOLDER);
    }

    private Store.Deletion delete(Conference conference) {
        return store.delete(conference.id(), Hold.NO_HOLDER, () -> false);
    }

    @Test
    @DisplayName("A repeated request gets its conference again while that exists")
    void sameRequest() {
        Conference first = granted(booking(clock.instant(), "r1", "board"));
        assertEquals(first, granted(booking(clock.instant(), "r1", "board")));
        assertEquals(1, store.size());
    }

    @Test
    @DisplayName("A repeated request gets its conference even if it names another room")
    void sameRequestForAnotherRoom() {
        Conference first = granted(booking(clock.instant(), "r1", "board"));
        assertEquals(first, granted(booking(clock.instant(), "r1", "hall")));
    }

    @Test
    @DisplayName("Another request does not get a held room; another spelling is another room")
    void anotherRequest() {
        Conference first = granted(booking(clock.instant(), "r1", "board"));
        Booking other = booking(clock.instant(), "r2", "board");
        assertEquals(new Outcome.Held(first, 0), create(store, other));
        granted(booking(clock.instant(), "r3", "Board"));
    }

    @Test
    @DisplayName("After its conference is deleted, a request gets a conference with another id")
    void deletedRequest() {
        Conference first = granted(booking(clock.instant(), "r1", "board"));
        assertEquals(Store.Deletion.DELETED, delete(first));
        assertEquals(Optional.empty(), store.get(first.id()));
        assertNotEquals(first.id(), granted(booking(clock.instant(), "r1", "board")).id());
    }

    @Test
    @DisplayName("A second deletion of an id does not affect the later conference of the room")
    void deleteOnlyTheNamed() {
        Conference first = granted(booking(clock.instant(), "r1", "board"));
        delete(first);
        Conference second = granted(booking(clock.instant(), "r2", "board"));
        assertEquals(Store.Deletion.NOTHING_TO_DELETE, delete(first));
        assertEquals(Optional.of(second), store.get(second.id()));
    }

    @Test
    @DisplayName("The store does not carry out a deletion whose caller has given up")
    void deleteGivenUp() {
        Conference first = granted(booking(clock.instant(), "r1", "board"));
        assertEquals(Store.Deletion.GIVEN_UP, store.delete(first.id(), Hold.NO_HOLDER, () -> true));
        assertEquals(Optional.of(first), store.get(first.id()));
    }

    @Test
    @DisplayName("The store asks whether the caller has given up only after it has the lock")
    void deleteGivenUpWhileItWaited() throws Exception {
        BlockingClock blockingClock = BlockingClock.unblocked(clock);
        Store slow = new Store(10, blockingClock, new ClockIds(clock));
        var held = (Outcome.Granted) create(slow, booking(clock.instant(), "r1", "board"));
        blockingClock.block();
        AtomicBoolean isGivenUp = new AtomicBoolean();
        var result = new ArrayList<Store.Deletion>();
        Thread holder = new Thread(() -> slow.get("x"));
        Thread deleter = new Thread(
                () -> result.add(slow.delete(
                        held.conference().id(), Hold.NO_HOLDER, isGivenUp::get)));
        holder.start();
        blockingClock.awaitBlocked();
        deleter.start();
        Timeouts.until(
                () -> deleter.getState() == Thread.State.BLOCKED,
                "the deletion did not wait for the lock of the store");
        isGivenUp.set(true);
        blockingClock.unblock();
        Timeouts.join(holder, "the holder of the lock did not return");
        Timeouts.join(deleter, "the deletion did not return");
        assertEquals(List.of(Store.Deletion.GIVEN_UP), result);
        assertTrue(slow.get(held.conference().id()).isPresent());
    }

    @Test
    @DisplayName("A conference exists until start + duration, exact to the nanosecond")
    void ends() {
        Conference first = granted(booking(clock.instant(), "r1", "board", MINUTE));
        clock.advance(MINUTE.minusNanos(1));
        assertEquals(Optional.of(first), store.get(first.id()));
        clock.advance(Duration.ofNanos(1));
        assertEquals(Optional.empty(), store.get(first.id()));
        assertEquals(0, store.size());
        assertEquals(Store.Deletion.NOTHING_TO_DELETE, delete(first));
    }

    @Test
    @DisplayName("After a conference is over, its request is a new one, and its room is free")
    void overIsFree() {
        Conference first = granted(booking(clock.instant(), "r1", "board", MINUTE));
        clock.advance(MINUTE);
        Conference second = granted(booking(clock.instant(), "r1", "board", MINUTE));
        clock.advance(MINUTE);
        Conference third = granted(booking(clock.instant(), "r2", "board"));
        assertEquals(3, List.of(first.id(), second.id(), third.id()).stream().distinct().count());
    }

    @ParameterizedTest
    @DisplayName("A booking has the right end even if the end is far away")
    @CsvSource({
        "2030-01-02T03:04:05Z, 315576000000, true",
        "9999-12-31T23:59:59.999999999Z, 315576000000, true",
        "9999-12-31T23:59:59.999999999Z, 1, true",
        "0001-01-01T00:00:00Z, 315576000000, true",
        "0001-01-01T00:00:00Z, 1, false",
    })
    void farEnds(Instant start, long seconds, boolean isGranted) {
        Outcome outcome =
                create(store, booking(start, "r1", "board", Duration.ofSeconds(seconds)));
        assertEquals(isGranted, outcome instanceof Outcome.Granted, outcome::toString);
        assertEquals(isGranted ? 1 : 0, store.size());
    }

    @Test
    @DisplayName("A conference without a duration has no end")
    void noLimit() {
        Conference first = granted(booking(clock.instant(), "r1", "board"));
        clock.advance(Duration.ofDays(36_500));
        assertEquals(Optional.of(first), store.get(first.id()));
    }

    @Test
    @DisplayName("A booking whose end has already passed does not hold the room")
    void tooLate() {
        Booking past = booking(clock.instant(), "r1", "board", MINUTE);
        clock.advance(MINUTE);
        assertEquals(new Outcome.TooLate(), create(store, past));
        assertEquals(0, store.size());
    }

    @Test
    @DisplayName("A full store still answers repeated requests and conflicts, and still deletes")
    void full() {
        Store small = store(1);
        Booking one = booking(clock.instant(), "r1", "board");
        var first = assertInstanceOf(Outcome.Granted.class, create(small, one));
        Booking two = booking(clock.instant(), "r2", "hall");
        assertEquals(new Outcome.Full(1), create(small, two));
        assertEquals(first, create(small, one));
        assertEquals(
                new Outcome.Held(first.conference(), 0),
                create(small, booking(clock.instant(), "r2", "board")));
        small.delete(first.conference().id(), Hold.NO_HOLDER, () -> false);
        assertInstanceOf(Outcome.Granted.class, create(small, two));
    }

    @Test
    @DisplayName("A full store drops conferences that are over before it refuses a new one")
    void fullOfWhatIsOver() {
        Store small = store(3);
        create(small, booking(clock.instant(), "r1", "room1", MINUTE));
        create(small, booking(clock.instant(), "r2", "room2", MINUTE));
        create(small, booking(clock.instant(), "r3", "room3"));
        clock.advance(MINUTE);
        Outcome outcome = create(small, booking(clock.instant(), "r4", "room4"));
        assertInstanceOf(Outcome.Granted.class, outcome);
        assertEquals(2, small.size());
    }

    @Test
    @DisplayName("No other request can run between the check of a room and its grant")
    void nobodyGetsBetween() throws Exception {
        CountDownLatch entered = new CountDownLatch(1);
        CountDownLatch goOn = new CountDownLatch(1);
        ClockIds ids = new ClockIds(clock);
        Store slow = new Store(10, clock, () -> {
            entered.countDown();
            Timeouts.await(
                    goOn, 2 * Timeouts.SECONDS, "the test did not let the first request go on");
            return ids.get();
        });
        Map<String, Outcome> outcomes = new ConcurrentHashMap<>();
        Thread first = creating(slow, "r1", outcomes);
        Timeouts.await(entered, "the first request did not ask for an id");
        Thread second = creating(slow, "r2", outcomes);
        // The second request waits for the lock or, in a store without a lock, for an id.
        Timeouts.until(
                () -> second.getState() == Thread.State.BLOCKED
                        || second.getState() == Thread.State.TIMED_WAITING,
                "the second request did not wait");
        goOn.countDown();
        Timeouts.join(first, "the first request did not return");
        Timeouts.join(second, "the second request did not return");
        Conference granted =
                assertInstanceOf(Outcome.Granted.class, outcomes.get("r1")).conference();
        assertEquals(new Outcome.Held(granted, 0), outcomes.get("r2"));
    }

    private Thread creating(Store slow, String requestId, Map<String, Outcome> outcomes) {
        Booking wanted = booking(clock.instant(), requestId, "board");
        Thread thread = new Thread(() -> outcomes.put(requestId, create(slow, wanted)));
        thread.start();
        return thread;
    }

    @Test
    @DisplayName("If many requests for a room arrive at the same time, exactly one gets it")
    void races() throws Exception {
        int callers = 8;
        int rooms = 200;
        ExecutorService threads = Executors.newFixedThreadPool(callers);
        CountDownLatch start = new CountDownLatch(1);
        List<Future<Long>> grants = IntStream.range(0, callers)
                .mapToObj(caller -> threads.submit(() -> {
                    Timeouts.await(start, "the test did not start the callers");
                    return IntStream.range(0, rooms)
                            .mapToObj(n -> booking(clock.instant(), caller + "-" + n, "room" + n))
                            .filter(wanted -> create(store, wanted) instanceof Outcome.Granted)
                            .count();
                }))
                .toList();
        start.countDown();
        long sum = 0;
        for (Future<Long> granted : grants) {
            sum += Timeouts.get(granted, "a caller did not end");
        }
        threads.shutdown();
        assertEquals(rooms, sum);
        assertEquals(rooms, store.size());
    }

    @Test
    @DisplayName("The text of a booking does not contain its password")
    void passwordIsNotInTheText() {
        var options = new RoomOptions(
                OptionalInt.of(7), true, Optional.of(new Secret("hunter2")));
        Booking booking =
                new Booking("r1", "board", "", clock.instant(), Optional.empty(), options);
        String text = new Outcome.Held(new Conference("1", booking), 0).toString();
        assertFalse(text.contains("hunter2"));
    }
}
