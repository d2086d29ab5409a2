package com.example.reservations;

import java.time.Instant;
import java.time.InstantSource;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.function.BooleanSupplier;
import java.util.function.Supplier;

/**
 * All conferences that exist, at most one for each room. Put your database here.
 *
 * <p>The store does not use gRPC or its messages. {@code ReservationService} calls only
 * {@code create}, {@code get} and {@code delete}: keep these three methods, and replace their
 * bodies. In SQL:
 *
 * <ul>
 *   <li>The maps become one table with a unique index on {@code room} and one on
 *       {@code request_id}.
 *   <li>{@code synchronized} becomes a transaction that locks the row of the conference
 *       ({@code SELECT ... FOR UPDATE}): {@code create} locks the row before it returns the
 *       conference, and {@code delete} locks the row before it deletes the conference.
 *   <li>{@code ClockIds} becomes a sequence.
 * </ul>
 *
 * <p>A conference exists from its creation until it is deleted or over. This class is thread-safe.
 */
final class Store {
    static final int DEFAULT_MAX_CONFERENCES = 10_000;

    /** The result of a deletion. */
    enum Deletion {
        DELETED,
        /** The conference was unknown, or already deleted or over. */
        NOTHING_TO_DELETE,
        /** The caller no longer waits for the deletion; the store deleted nothing. */
        GIVEN_UP
    }

    private final int maxConferences;
    private final InstantSource clock;
    private final Supplier<String> ids;

    private final Map<String, Conference> byId = new HashMap<>();
    private final Map<String, Conference> byRoom = new HashMap<>();
    private final Map<String, Conference> byRequest = new HashMap<>();

    Store(int maxConferences) {
        this(maxConferences, InstantSource.system(), new ClockIds(InstantSource.system()));
    }

    /**
     * Makes an empty store with this clock.
     *
     * @param ids must never return the same id twice
     */
    Store(int maxConferences, InstantSource clock, Supplier<String> ids) {
        this.maxConferences = maxConferences;
        this.clock = clock;
        this.ids = ids;
    }

    /**
     * Grants the room, unless the conference of another request holds it. A repeated request gets
     * its conference again while that conference exists.
     */
    synchronized Outcome create(Booking booking) {
        Instant now = clock.instant();
        Optional<Conference> mine = existing(byRequest.get(booking.requestId()), now);
        if (mine.isPresent()) {
            return new Outcome.Granted(mine.get());
        }
        Optional<Conference> holder = existing(byRoom.get(booking.room()), now);
        if (holder.isPresent()) {
            return new Outcome.Held(holder.get());
        }
        if (booking.isOver(now)) {
            return new Outcome.TooLate();
        }
        if (!hasSpace(now)) {
            return new Outcome.Full(byId.size());
        }
        return new Outcome.Granted(add(booking));
    }

    /** Returns the conference, or an empty value if it is unknown, deleted or over. */
    synchronized Optional<Conference> get(String conferenceId) {
        return existing(byId.get(conferenceId), clock.instant());
    }

    /**
     * Deletes this conference and no other, unless the caller has given up.
     *
     * <p>The store calls {@code givenUp} while it holds the lock, which {@code create} uses too.
     * The reason: after the caller has given up, {@code create} may return the same conference to
     * a client again, and then the deletion must not happen (the contract, DeleteConference).
     *
     * <p>With a database, keep this order: lock the row, call {@code givenUp}, delete, commit.
     * {@code create} must lock the row too, before it returns the conference. A call of
     * {@code givenUp} before the row is locked is too early.
     *
     * @param givenUp returns whether the caller no longer waits for the deletion
     */
    synchronized Deletion delete(String conferenceId, BooleanSupplier givenUp) {
        Optional<Conference> conference = existing(byId.get(conferenceId), clock.instant());
        if (givenUp.getAsBoolean()) {
            return Deletion.GIVEN_UP;
        }
        conference.ifPresent(this::drop);
        return conference.isPresent() ? Deletion.DELETED : Deletion.NOTHING_TO_DELETE;
    }

    /** Returns the number of conferences in memory; some of them may be over. */
    synchronized int size() {
        return byId.size();
    }

    /** Returns the conference, or drops it and returns an empty value if it is over. */
    private Optional<Conference> existing(Conference conference, Instant now) {
        if (conference != null && conference.booking().isOver(now)) {
            drop(conference);
            return Optional.empty();
        }
        return Optional.ofNullable(conference);
    }

    private boolean hasSpace(Instant now) {
        // The store searches for conferences that are over only if it is full, so most calls are
        // fast.
        if (byId.size() >= maxConferences) {
            List.copyOf(byId.values()).forEach(conference -> existing(conference, now));
        }
        return byId.size() < maxConferences;
    }

    private Conference add(Booking booking) {
        Conference conference = new Conference(ids.get(), booking);
        byId.put(conference.id(), conference);
        byRoom.put(booking.room(), conference);
        byRequest.put(booking.requestId(), conference);
        return conference;
    }

    private void drop(Conference conference) {
        byId.remove(conference.id());
        byRoom.remove(conference.booking().room());
        byRequest.remove(conference.booking().requestId());
    }
}
