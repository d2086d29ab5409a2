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
 * {@code create}, {@code get}, {@code delete} and {@code withdraw}: keep these four methods, and
 * replace their bodies. In SQL:
 *
 * <ul>
 *   <li>The maps become one table with a unique index on {@code room} and one on
 *       {@code request_id}.
 *   <li>{@code rows} becomes a second table with a row for each conference and holder: (conference,
 *       holder, hold). Its primary key is (conference, holder).
 *   <li>{@code synchronized} becomes a transaction that locks the row of the conference
 *       ({@code SELECT ... FOR UPDATE}): {@code create} locks the row before it returns the
 *       conference. {@code delete} and {@code withdraw} lock the row before they change the rows of
 *       the holders. Without this lock, two holders that release one conference at the same time
 *       may each see the row of the other, and the conference stays.
 *   <li>{@code ClockIds} becomes a sequence.
 * </ul>
 *
 * <p>A conference exists from its creation until it is deleted or over. This class is thread-safe.
 */
final class Store {
    static final int DEFAULT_MAX_CONFERENCES = 10_000;

    /** The result of a deletion. */
    enum Deletion {
        /** The last row was removed, and the conference with it. */
        DELETED,
        /** The row of the holder was removed; other holders have the conference. */
        RELEASED,
        /** The holder has no row, or a row with a greater hold. */
        NOT_CHANGED,
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
    /** The number of each holder of a conference, by the id of the conference. */
    private final Map<String, Map<String, Long>> rows = new HashMap<>();

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
     * its conference again while that conference exists. In every case, the holder has a row of the
     * returned conference afterwards, with at least this hold.
     */
    synchronized Outcome create(Booking booking, Hold hold) {
        Instant now = clock.instant();
        Optional<Conference> mine = existing(byRequest.get(booking.requestId()), now);
        if (mine.isPresent()) {
            return new Outcome.Granted(mine.get(), raise(mine.get(), hold));
        }
        Optional<Conference> other = existing(byRoom.get(booking.room()), now);
        if (other.isPresent()) {
            return new Outcome.Held(other.get(), raise(other.get(), hold));
        }
        if (booking.isOver(now)) {
            return new Outcome.TooLate();
        }
        if (!hasSpace(now)) {
            return new Outcome.Full(byId.size());
        }
        Conference created = add(booking);
        return new Outcome.Granted(created, raise(created, hold));
    }

    /** Returns the conference, or an empty value if it is unknown, deleted or over. */
    synchronized Optional<Conference> get(String conferenceId) {
        return existing(byId.get(conferenceId), clock.instant());
    }

    /**
     * Removes the row of a holder, and deletes the conference if no row is left, unless the caller
     * has given up. A row with a greater hold stays: the holder got the conference again later.
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
    synchronized Deletion delete(String conferenceId, Hold hold, BooleanSupplier givenUp) {
        return release(byId.get(conferenceId), hold, givenUp);
    }

    /**
     * Does the same as {@code delete}, for the conference that holds this room.
     *
     * <p>The caller does not know whether there is such a conference: it got no answer to its
     * request, or no client may have the conference.
     */
    synchronized Deletion withdraw(String room, Hold hold, BooleanSupplier givenUp) {
        return release(byRoom.get(room), hold, givenUp);
    }

    /** Returns the number of conferences in memory; some of them may be over. */
    synchronized int size() {
        return byId.size();
    }

    /** Sets the row of the holder to its hold, unless it is greater; returns the row's hold. */
    private long raise(Conference conference, Hold hold) {
        return rows.get(conference.id()).merge(hold.holder(), hold.number(), Math::max);
    }

    /** Removes the row of the holder, and the conference if that was its last row. */
    private Deletion release(Conference known, Hold hold, BooleanSupplier givenUp) {
        Optional<Conference> conference = existing(known, clock.instant());
        if (givenUp.getAsBoolean()) {
            return Deletion.GIVEN_UP;
        }
        if (conference.isEmpty()) {
            return Deletion.NOTHING_TO_DELETE;
        }
        Map<String, Long> holders = rows.get(conference.get().id());
        Long number = holders.get(hold.holder());
        if (number == null || number > hold.number()) {
            return Deletion.NOT_CHANGED;
        }
        holders.remove(hold.holder());
        if (!holders.isEmpty()) {
            return Deletion.RELEASED;
        }
        drop(conference.get());
        return Deletion.DELETED;
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
        rows.put(conference.id(), new HashMap<>());
        return conference;
    }

    private void drop(Conference conference) {
        byId.remove(conference.id());
        byRoom.remove(conference.booking().room());
        byRequest.remove(conference.booking().requestId());
        rows.remove(conference.id());
    }
}
