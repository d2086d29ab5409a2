package com.example.reservations;

import static com.example.reservations.Backend.fault;
import static org.junit.jupiter.api.Assertions.assertDoesNotThrow;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.google.protobuf.Duration;
import com.google.protobuf.Timestamp;
import io.grpc.Status;
import java.time.Instant;
import java.util.List;
import java.util.Optional;
import java.util.OptionalInt;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import java.util.function.Consumer;
import java.util.logging.Level;
import java.util.stream.Stream;
import jicofo.reservation.v1.Conference;
import jicofo.reservation.v1.CreateConferenceRequest;
import jicofo.reservation.v1.CreateConferenceResponse;
import jicofo.reservation.v1.CreateConferenceResponse.OutcomeCase;
import jicofo.reservation.v1.DeleteConferenceRequest;
import jicofo.reservation.v1.DeleteReason;
import jicofo.reservation.v1.DenialReason;
import jicofo.reservation.v1.GetConferenceRequest;
import jicofo.reservation.v1.Owner;
import jicofo.reservation.v1.ReservationServiceGrpc.ReservationServiceBlockingStub;
import jicofo.reservation.v1.Room;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.DisplayName;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.MethodSource;

@DisplayName("The service, called through a real server")
final class ReservationServiceTest {
    private static final RoomOptions OPTIONS =
            new RoomOptions(OptionalInt.of(7), true, Optional.of(new Secret("open sesame")));

    /** A deadline that passes during the test, but not before the call reaches the store. */
    private static final int DEADLINE_SECONDS = 3;

    private final FakeClock clock = new FakeClock();
    private final Backend backend = new Backend();
    private volatile ReservationServiceBlockingStub stub;

    @BeforeEach
    void serve() throws Exception {
        serve(Policy.OPEN, 100);
    }

    @AfterEach
    void stop() throws InterruptedException {
        backend.stop();
    }

    private void serve(Policy policy, int maxConferences) throws Exception {
        Store store = new Store(maxConferences, clock, new ClockIds(clock));
        stub = Backend.with(backend.serve(store, policy), "x-incident-id", "inc-17");
    }

    /** Returns a request as the proxy sends it. */
    private CreateConferenceRequest.Builder request(String requestId, String room) {
        return CreateConferenceRequest.newBuilder()
                .setRequestId(requestId)
                .setRoom(Room.newBuilder().setRaw(room).setName(room))
                .setOwner(Owner.newBuilder().setRaw("juliet@example.com"))
                .setStartTime(timestamp(clock.instant()));
    }

    private static Timestamp timestamp(Instant time) {
        return Timestamp.newBuilder()
                .setSeconds(time.getEpochSecond())
                .setNanos(time.getNano())
                .build();
    }

    private static Duration seconds(long seconds) {
        return Duration.newBuilder().setSeconds(seconds).build();
    }

    private CreateConferenceResponse create(CreateConferenceRequest.Builder request) {
        return stub.createConference(request.build());
    }

    private Conference get(String id) {
        return stub.getConference(GetConferenceRequest.newBuilder().setConferenceId(id).build())
                .getConference();
    }

    private Object delete(String id, DeleteReason reason) {
        return stub.deleteConference(
                DeleteConferenceRequest.newBuilder().setConferenceId(id).setReason(reason).build());
    }

    @Test
    @DisplayName("A conference has the room, owner and start of its request, and nothing else")
    void grantEchoesTheRequest() {
        Timestamp start = timestamp(clock.instant().plusNanos(123_456_789));
        Conference granted =
                create(request("r1", "[acme]caf%c3%a9").setStartTime(start)).getConference();
        Conference expected = Conference.newBuilder()
                .setId(granted.getId())
                .setRoom("[acme]caf%c3%a9")
                .setOwner("juliet@example.com")
                .setStartTime(start)
                .build();
        assertTrue(granted.getId().matches("[1-9][0-9]{13}"), granted.getId());
        assertEquals(expected, granted);
        assertEquals(expected, get(granted.getId()));
    }

    @Test
    @DisplayName("A request without an owner, as from Jitsi without login, gets an empty owner")
    void noOwner() {
        assertEquals("", create(request("r1", "board").clearOwner()).getConference().getOwner());
    }

    @Test
    @DisplayName("A repeated request gets a grant with the same conference, not a conflict")
    void idempotent() {
        assertEquals(create(request("r1", "board")), create(request("r1", "board")));
    }

    @Test
    @DisplayName("A conflict contains the whole conference, even for the same owner")
    void conflict() throws Exception {
        serve(new Policy(List.of(), Optional.empty(), OPTIONS), 100);
        Conference holder =
                create(request("r1", "board").setDuration(seconds(60))).getConference();
        CreateConferenceResponse other = create(request("r2", "board"));
        assertEquals(OutcomeCase.CONFLICT, other.getOutcomeCase());
        assertEquals(holder, other.getConflict().getConference());
        assertEquals("open sesame", holder.getPassword());
        assertEquals(7, holder.getMaxOccupants());
        assertTrue(holder.getLobby());
    }

    @Test
    @DisplayName("Two rooms are the same only if their raw values are the same")
    void rooms() {
        List<String> rooms = List.of("board", "[acme]board", "[globex]board", "BOARD", "bo%61rd");
        long granted = rooms.stream()
                .filter(room -> create(request("for " + room, room)).hasConference())
                .count();
        assertEquals(rooms.size(), granted);
    }

    @ParameterizedTest
    @DisplayName("After a deletion for any reason, the id gets NOT_FOUND, and the room is free")
    @EnumSource(mode = EnumSource.Mode.EXCLUDE, names = "UNRECOGNIZED")
    void deleted(DeleteReason reason) {
        Conference first = create(request("r1", "board")).getConference();
        delete(first.getId(), reason);
        Status status = fault(() -> get(first.getId()));
        assertEquals(Status.Code.NOT_FOUND, status.getCode());
        assertEquals("no such conference", status.getDescription());
        Conference second = create(request("r1", "board")).getConference();
        assertNotEquals(first.getId(), second.getId());
        delete(first.getId(), reason);
        assertEquals(second, get(second.getId()));
    }

    @Test
    @DisplayName("A request whose end has already passed gets a denial with a message")
    void tooLate() {
        var past = request("r1", "board").setDuration(seconds(60));
        clock.advance(java.time.Duration.ofMinutes(1));
        var denial = create(past).getDenial();
        assertEquals(DenialReason.DENIAL_REASON_TOO_LATE, denial.getReason());
        assertEquals("The time of this meeting is over already.", denial.getMessage());
    }

    @ParameterizedTest
    @DisplayName("A conference gets the requested or the maximum duration, whichever is shorter")
    @CsvSource({",,", "90,,90", ",60,60", "30,60,30", "90,60,60"})
    void durations(Long wanted, Long limit, Long given) throws Exception {
        var longest = Optional.ofNullable(limit).map(java.time.Duration::ofSeconds);
        serve(new Policy(List.of(), longest, RoomOptions.NONE), 100);
        var request = request("r1", "board");
        if (wanted != null) {
            request.setDuration(seconds(wanted));
        }
        Conference granted = create(request).getConference();
        assertEquals(given != null, granted.hasDuration());
        assertEquals(given == null ? 0 : given, granted.getDuration().getSeconds());
    }

    @Test
    @DisplayName("A rule denies a room to everybody, even if the request has only the raw room")
    void denied() throws Exception {
        var deny = List.of(new Glob("other"), new Glob("board-*"));
        serve(new Policy(deny, Optional.empty(), RoomOptions.NONE), 100);
        var denial = create(request("r1", "Board-1")).getDenial();
        assertEquals(DenialReason.DENIAL_REASON_INVALID_ROOM, denial.getReason());
        assertEquals("Rooms of this name are not available.", denial.getMessage());
        assertTrue(create(request("r2", "x").setRoom(Room.newBuilder().setRaw("board-2")))
                .hasDenial());
        assertTrue(create(request("r3", "keyboard-1")).hasConference());
    }

    private static Arguments broken(
            String text, Consumer<CreateConferenceRequest.Builder> breakIt) {
        return Arguments.of(text, breakIt);
    }

    private static Stream<Arguments> broken() {
        return Stream.of(
                broken("request_id: wanted a value, got none", r -> r.setRequestId("")),
                broken("room.raw: wanted a value, got none", r -> r.clearRoom()),
                broken(
                        "room.raw: wanted at most 1023 bytes, got 1024",
                        r -> r.setRoom(Room.newBuilder().setRaw("\u00e9".repeat(512)))),
                broken(
                        "owner.raw: wanted a value, got none",
                        r -> r.setOwner(Owner.newBuilder().setUser("juliet"))),
                broken("start_time: wanted a time, got none", r -> r.clearStartTime()),
                broken(
                        "start_time: wanted a valid time in the years 1 to 9999, got",
                        r -> r.setStartTime(Timestamp.newBuilder().setSeconds(253402300800L))),
                broken(
                        "start_time: wanted a valid time in the years 1 to 9999, got",
                        r -> r.setStartTime(Timestamp.newBuilder().setNanos(-1))),
                broken(
                        "duration: wanted a positive duration of at most",
                        r -> r.setDuration(seconds(0))),
                broken(
                        "duration: wanted a positive duration of at most",
                        r -> r.setDuration(seconds(-1))),
                broken(
                        "duration: wanted a positive duration of at most 10,000 years, or none,"
                                + " got 315576000001 s and 0 ns",
                        r -> r.setDuration(seconds(315_576_000_001L))),
                broken(
                        "duration: wanted a positive duration of at most",
                        r -> r.setDuration(seconds(1).toBuilder().setNanos(-1))),
                broken(
                        "duration: wanted a positive duration of at most",
                        r -> r.setDuration(seconds(Long.MAX_VALUE))));
    }

    @ParameterizedTest
    @DisplayName("A request that breaks the contract gets an error that names the field")
    @MethodSource("broken")
    void brokenCreate(String text, Consumer<CreateConferenceRequest.Builder> breakIt) {
        var request = request("r1", "board");
        breakIt.accept(request);
        Status status = fault(() -> create(request));
        assertEquals(Status.Code.INVALID_ARGUMENT, status.getCode());
        assertTrue(status.getDescription().startsWith(text), status::getDescription);
        assertTrue(create(request("r2", "board")).hasConference());
    }

    @ParameterizedTest
    @DisplayName("The service accepts the largest values of the contract")
    @CsvSource({"253402300799, 999999999, 315576000000", "253402300799, 0, 1"})
    void largest(long start, int nanos, long duration) {
        var request = request("r1", "x".repeat(1023))
                .setStartTime(Timestamp.newBuilder().setSeconds(start).setNanos(nanos))
                .setDuration(seconds(duration));
        Conference granted = create(request).getConference();
        assertEquals(request.getStartTime(), granted.getStartTime());
        var conflict = create(request("r2", "x".repeat(1023))).getConflict();
        assertEquals(granted, conflict.getConference());
    }

    @Test
    @DisplayName("GetConference and DeleteConference without an id get INVALID_ARGUMENT")
    void noId() {
        Status got = fault(() -> get(""));
        assertEquals(Status.Code.INVALID_ARGUMENT, got.getCode());
        assertEquals("conference_id: wanted a value, got none", got.getDescription());
        Status deleted = fault(() -> delete("", DeleteReason.DELETE_REASON_ENDED));
        assertEquals(Status.Code.INVALID_ARGUMENT, deleted.getCode());
        assertEquals("conference_id or room: wanted a value, got none", deleted.getDescription());
    }

    @ParameterizedTest(name = "{0} {1}")
    @CsvSource({
        "a, 0, 'wanted a positive number, because holder is set, got 0'",
        "a, -1, 'wanted a positive number, because holder is set, got -1'",
        "'', 7, 'wanted 0, because holder is empty, got 7'"
    })
    @DisplayName("A hold that does not fit its holder gets INVALID_ARGUMENT")
    void wrongHold(String holder, long hold, String problem) {
        var wanted = request("r1", "board").setHolder(holder).setHold(hold);
        Status status = fault(() -> create(wanted));
        assertEquals(Status.Code.INVALID_ARGUMENT, status.getCode());
        assertEquals("hold: " + problem, status.getDescription());
    }

    @Test
    @DisplayName("The service passes holders on, answers the row's hold, and logs what it did")
    void holders() throws Exception {
        try (LogRecorder log = new LogRecorder()) {
            var granted = create(request("r1", "board").setHolder("a").setHold(7));
            var conflict = create(request("r2", "board").setHolder("b").setHold(9));
            assertEquals(List.of(7L, 9L), List.of(granted.getHold(), conflict.getHold()));
            String id = granted.getConference().getId();
            var byId = DeleteConferenceRequest.newBuilder().setConferenceId(id).setHolder("a");
            stub.deleteConference(byId.setHold(6).build());
            stub.deleteConference(byId.setHold(7).build());
            assertEquals(id, get(id).getId());
            var byRoom = DeleteConferenceRequest.newBuilder().setRoom("board").setHolder("b");
            stub.deleteConference(byRoom.setHold(9).build());
            assertEquals(Status.Code.NOT_FOUND, fault(() -> get(id)).getCode());
            List<String> deletions = log.messages(Level.INFO).stream()
                    .filter(line -> line.contains(" delete "))
                    .map(line -> line.substring(line.indexOf(" delete ") + 1))
                    .toList();
            assertEquals(
                    List.of(
                            "delete id='" + id + "' reason=0 holder='a' hold=6: not changed: the"
                                    + " holder has no row, or a row with a greater hold",
                            "delete id='" + id + "' reason=0 holder='a' hold=7: released; other"
                                    + " holders have the conference",
                            "delete room='board' reason=0 holder='b' hold=9: deleted"),
                    deletions);
        }
    }

    @Test
    @DisplayName("A full store answers RESOURCE_EXHAUSTED until a conference is deleted")
    void full() throws Exception {
        serve(Policy.OPEN, 1);
        Conference first = create(request("r1", "one")).getConference();
        Status status = fault(() -> create(request("r2", "two")));
        assertEquals(Status.Code.RESOURCE_EXHAUSTED, status.getCode());
        assertEquals(
                "the store is full: it holds 1 conferences, its maximum number",
                status.getDescription());
        delete(first.getId(), DeleteReason.DELETE_REASON_ENDED);
        assertTrue(create(request("r2", "two")).hasConference());
    }

    @Test
    @DisplayName("The server refuses a request of more than 256 KiB")
    void oversized() {
        var owner = Owner.newBuilder().setRaw("j".repeat(300_000));
        Status status = fault(() -> create(request("r1", "board").setOwner(owner)));
        assertEquals(Status.Code.RESOURCE_EXHAUSTED, status.getCode());
    }

    @Test
    @DisplayName("The service does not carry out a deletion whose deadline passes while it waits")
    void givenUp() throws Exception {
        BlockingClock blockingClock = BlockingClock.unblocked(clock);
        var client = backend.serve(new Store(10, blockingClock, new ClockIds(clock)), Policy.OPEN);
        stub = client;
        Conference held = create(request("r1", "board")).getConference();
        blockingClock.block();
        var unknown = GetConferenceRequest.newBuilder().setConferenceId("x").build();
        Thread holder = new Thread(() -> fault(() -> client.getConference(unknown)));
        holder.start();
        blockingClock.awaitBlocked();
        stub = client.withDeadlineAfter(DEADLINE_SECONDS, TimeUnit.SECONDS);
        var deletion = CompletableFuture.supplyAsync(
                () -> fault(() -> delete(held.getId(), DeleteReason.DELETE_REASON_ENDED)));
        Timeouts.until(
                () -> deletionInStore().filter(s -> s != Thread.State.RUNNABLE).isPresent(),
                "the deletion did not wait for the lock of the store");
        // In the server, the time until the deadline begins when the call arrives. The deletion
        // arrived before this call, so its deadline passes first.
        stub = client.withDeadlineAfter(DEADLINE_SECONDS, TimeUnit.SECONDS);
        assertEquals(Status.Code.DEADLINE_EXCEEDED, fault(() -> get("x")).getCode());
        assertEquals(
                Status.Code.DEADLINE_EXCEEDED,
                Timeouts.get(deletion, "the caller got no answer to its deletion").getCode());
        blockingClock.unblock();
        Timeouts.join(holder, "the holder of the lock got no answer");
        Timeouts.until(
                () -> deletionInStore().isEmpty(), "the deletion did not leave the store");
        stub = client;
        Conference found = assertDoesNotThrow(
                () -> get(held.getId()), "the deletion was carried out after its deadline");
        assertEquals(held, found);
    }

    /** Returns the state of the thread that works on a deletion in the store. */
    private static Optional<Thread.State> deletionInStore() {
        return Thread.getAllStackTraces().entrySet().stream()
                .filter(thread -> Stream.of(thread.getValue())
                        .anyMatch(frame -> frame.getClassName().equals(Store.class.getName())
                                && frame.getMethodName().equals("delete")))
                .map(thread -> thread.getKey().getState())
                .findAny();
    }

    @Test
    @DisplayName("An unexpected error gets INTERNAL without its text; the log contains the text")
    void unexpected() throws Exception {
        try (LogRecorder log = new LogRecorder()) {
            var ids = new IllegalStateException("the table is gone");
            stub = backend.serve(
                    new Store(
                            10,
                            clock,
                            () -> {
                                throw ids;
                            }),
                    Policy.OPEN);
            Status status = fault(() -> create(request("r1", "board")));
            assertEquals(Status.Code.INTERNAL, status.getCode());
            assertEquals("the backend's log contains the cause", status.getDescription());
            assertEquals(
                    List.of("incident='' create room='board': INTERNAL"),
                    log.messages(Level.SEVERE));
            assertEquals(List.of(ids), log.errors());
        }
    }

    @Test
    @DisplayName("The log has one line for each call, with its incident id, never a password")
    void oneLineForEachCall() throws Exception {
        serve(new Policy(List.of(new Glob("denied")), Optional.empty(), OPTIONS), 100);
        try (LogRecorder log = new LogRecorder()) {
            String id = create(request("r1", "two\nlines")).getConference().getId();
            create(request("r2", "two\nlines"));
            create(request("r3", "denied"));
            get(id);
            fault(() -> get(""));
            delete(id, DeleteReason.DELETE_REASON_EXPIRED);
            delete(id, DeleteReason.DELETE_REASON_EXPIRED);
            String none = "INVALID_ARGUMENT: conference_id: wanted a value, got none";
            String create = "incident='inc-17' create room='two\\u{a}lines': ";
            assertEquals(
                    List.of(
                            create + "granted id=" + id,
                            create + "conflict with id=" + id,
                            "incident='inc-17' create room='denied': denied:"
                                    + " Rooms of this name are not available.",
                            "incident='inc-17' get id='" + id + "': found",
                            "incident='inc-17' get id='': " + none,
                            "incident='inc-17' delete id='" + id + "' reason=2: deleted",
                            "incident='inc-17' delete id='" + id + "' reason=2: nothing to delete"),
                    log.messages(Level.INFO));
            String wanted = String.join("", log.messages(Level.FINE));
            assertTrue(wanted.contains("juliet@example.com"), wanted);
            assertFalse(wanted.contains("sesame"), wanted);
            assertFalse(wanted.contains("\n"), wanted);
        }
    }
}
