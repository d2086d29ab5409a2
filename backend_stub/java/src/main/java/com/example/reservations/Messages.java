package com.example.reservations;

import com.google.protobuf.Timestamp;
import com.google.protobuf.util.Durations;
import com.google.protobuf.util.Timestamps;
import io.grpc.Status;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.time.Instant;
import java.util.Optional;
import jicofo.reservation.v1.Conflict;
import jicofo.reservation.v1.CreateConferenceRequest;
import jicofo.reservation.v1.CreateConferenceResponse;
import jicofo.reservation.v1.DeleteConferenceRequest;
import jicofo.reservation.v1.Denial;
import jicofo.reservation.v1.DenialReason;
import jicofo.reservation.v1.Room;

/** Converts the contract's messages to the store's values, and back. */
final class Messages {
    private static final int ROOM_BYTES_MAX = 1023;

    private Messages() {}

    /**
     * Returns the booking that the request asks for.
     *
     * @throws Fault INVALID_ARGUMENT if the request breaks the contract; the text names the field
     */
    static Booking booking(CreateConferenceRequest request) {
        return new Booking(
                required("request_id", request.getRequestId()),
                room(request.getRoom()),
                request.hasOwner() ? required("owner.raw", request.getOwner().getRaw()) : "",
                start(request),
                duration(request),
                RoomOptions.NONE);
    }

    /**
     * Returns the id.
     *
     * @throws Fault INVALID_ARGUMENT if the id is empty
     */
    static String conferenceId(String id) {
        return required("conference_id", id);
    }

    /**
     * Returns the hold of a create; it is positive with a holder, and 0 without one.
     *
     * @throws Fault INVALID_ARGUMENT if the hold does not fit the holder
     */
    static Hold hold(CreateConferenceRequest request) {
        long number = request.getHold();
        if (request.getHolder().isEmpty() && number != 0) {
            throw Fault.invalid("hold", "wanted 0, because holder is empty, got " + number);
        }
        if (!request.getHolder().isEmpty() && number <= 0) {
            throw Fault.invalid(
                    "hold", "wanted a positive number, because holder is set, got " + number);
        }
        return new Hold(request.getHolder(), number);
    }

    /**
     * Returns the id of the conference to delete, for a request that is not a withdrawal.
     *
     * @throws Fault INVALID_ARGUMENT if the id is empty
     */
    static String deletedId(DeleteConferenceRequest request) {
        return required("conference_id or room", request.getConferenceId());
    }

    /**
     * Returns the response for the outcome.
     *
     * @throws Fault RESOURCE_EXHAUSTED if the store is full
     */
    static CreateConferenceResponse response(Outcome outcome) {
        var response = CreateConferenceResponse.newBuilder();
        // With Java 21 or newer, use a switch over Outcome: javac then finds missing cases.
        if (outcome instanceof Outcome.Granted granted) {
            response.setConference(message(granted.conference())).setHold(granted.hold());
        } else if (outcome instanceof Outcome.Held held) {
            response.setConflict(Conflict.newBuilder().setConference(message(held.conference())))
                    .setHold(held.hold());
        } else if (outcome instanceof Outcome.TooLate) {
            // If the service granted the room, Jitsi would close it at once, without a message to
            // the user.
            response.setDenial(
                    Denial.newBuilder()
                            .setMessage("The time of this meeting is over already.")
                            .setReason(DenialReason.DENIAL_REASON_TOO_LATE));
        } else if (outcome instanceof Outcome.Full full) {
            // This is an error and not a denial, because no rule denies this room.
            throw new Fault(
                    Status.Code.RESOURCE_EXHAUSTED,
                    "the store is full: it holds " + full.conferences()
                            + " conferences, its maximum number");
        } else {
            throw new AssertionError(outcome);
        }
        return response.build();
    }

    /** Returns the whole conference as a message. */
    static jicofo.reservation.v1.Conference message(Conference conference) {
        Booking booking = conference.booking();
        var message =
                jicofo.reservation.v1.Conference.newBuilder()
                        .setId(conference.id())
                        .setRoom(booking.room())
                        .setOwner(booking.owner())
                        .setStartTime(
                                Timestamp.newBuilder()
                                        .setSeconds(booking.start().getEpochSecond())
                                        .setNanos(booking.start().getNano()));
        booking.duration().map(Messages::message).ifPresent(message::setDuration);
        booking.options().maxOccupants().ifPresent(message::setMaxOccupants);
        if (booking.options().lobby()) {
            message.setLobby(true);
        }
        booking.options().password().map(Secret::value).ifPresent(message::setPassword);
        return message.build();
    }

    private static com.google.protobuf.Duration message(Duration duration) {
        return com.google.protobuf.Duration.newBuilder()
                .setSeconds(duration.getSeconds())
                .setNanos(duration.getNano())
                .build();
    }

    private static String required(String field, String value) {
        if (value.isEmpty()) {
            throw Fault.invalid(field, "wanted a value, got none");
        }
        return value;
    }

    private static String room(Room room) {
        String raw = required("room.raw", room.getRaw());
        int size = raw.getBytes(StandardCharsets.UTF_8).length;
        if (size > ROOM_BYTES_MAX) {
            throw Fault.invalid(
                    "room.raw", "wanted at most " + ROOM_BYTES_MAX + " bytes, got " + size);
        }
        return raw;
    }

    private static Instant start(CreateConferenceRequest request) {
        if (!request.hasStartTime()) {
            throw Fault.invalid("start_time", "wanted a time, got none");
        }
        Timestamp start = request.getStartTime();
        if (!Timestamps.isValid(start)) {
            throw Fault.invalid(
                    "start_time",
                    "wanted a valid time in the years 1 to 9999, got "
                            + amount(start.getSeconds(), start.getNanos()));
        }
        return Instant.ofEpochSecond(start.getSeconds(), start.getNanos());
    }

    private static Optional<Duration> duration(CreateConferenceRequest request) {
        if (!request.hasDuration()) {
            return Optional.empty();
        }
        com.google.protobuf.Duration asked = request.getDuration();
        if (!Durations.isValid(asked) || !Durations.isPositive(asked)) {
            throw Fault.invalid(
                    "duration",
                    "wanted a positive duration of at most 10,000 years, or none, got "
                            + amount(asked.getSeconds(), asked.getNanos()));
        }
        return Optional.of(Duration.ofSeconds(asked.getSeconds(), asked.getNanos()));
    }

    private static String amount(long seconds, int nanos) {
        return seconds + " s and " + nanos + " ns";
    }
}
