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
 * The rules of this backend, the same for everybody: the place for rules of your own.
 *
 * @param deny the names of rooms that nobody gets
 * @param longest limits every conference, also one that asks for longer; empty does not
 * @param options are given to every conference
 */
record Policy(List<Glob> deny, Optional<Duration> longest, RoomOptions options) {
    /** Grants everything. */
    static final Policy OPEN = new Policy(List.of(), Optional.empty(), RoomOptions.NONE);

    /** Returns why this request gets no room; nothing where no rule is against it. */
    Optional<Denial> denial(CreateConferenceRequest request) {
        Room room = request.getRoom();
        // A caller that does not take rooms apart, unlike the proxy, must not get past a rule.
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

    /** Returns what the request would get of what it wants. */
    Booking terms(Booking wanted) {
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
