package com.example.reservations;

import java.time.Duration;
import java.util.List;
import java.util.Optional;
import java.util.stream.Stream;
import jicofo.reservation.v1.CreateConferenceRequest;
import jicofo.reservation.v1.Denial;
import jicofo.reservation.v1.DenialReason;
import jicofo.reservation.v1.Room;

/**
 * The rules of this backend, the same for all owners. Put your own rules here.
 *
 * @param deny patterns for the names of rooms that the backend denies to everybody
 * @param longest the maximum duration of every conference; empty means no maximum
 * @param options the options that every conference gets
 */
record Policy(List<Glob> deny, Optional<Duration> longest, RoomOptions options) {
    /** Grants every room to the first request for it. */
    static final Policy OPEN = new Policy(List.of(), Optional.empty(), RoomOptions.NONE);

    /** Returns a denial if a rule denies this room to everybody, otherwise an empty value. */
    Optional<Denial> denial(CreateConferenceRequest request) {
        Room room = request.getRoom();
        // The proxy always sets the name. Another caller may set only the raw room, and the rules
        // must apply to that caller too.
        String name = room.getName().isEmpty() ? room.getRaw() : room.getName();
        if (deny.stream().noneMatch(glob -> glob.matches(name))) {
            return Optional.empty();
        }
        return Optional.of(
                Denial.newBuilder()
                        .setMessage("Rooms of this name are not available.")
                        .setReason(DenialReason.DENIAL_REASON_INVALID_ROOM)
                        .build());
    }

    /** Returns the booking with the options of this policy, and at most its maximum duration. */
    Booking apply(Booking wanted) {
        Optional<Duration> duration =
                Stream.of(wanted.duration(), longest)
                        .flatMap(Optional::stream)
                        .min(Duration::compareTo);
        return new Booking(
                wanted.requestId(),
                wanted.room(),
                wanted.owner(),
                wanted.start(),
                duration,
                options);
    }
}
