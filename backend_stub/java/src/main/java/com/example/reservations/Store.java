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
 * All conferences that exist, at most one for each room. This is the place to put a database.
 *
 * <p>The store knows nothing of gRPC or of messages, and {@code ReservationService} asks no more of
 * it than {@code create}, {@code get} and {@code delete}: keep these and replace what is inside. In
 * SQL, the maps become one table with a unique index on {@code room} and one on
 * {@code request_id}; {@code synchronized} becomes a transaction that locks the row it reads
 * ({@code SELECT ... FOR UPDATE}); the ids come from a sequence.
 *
 * <p>A conference exists from its creation until it is deleted or over. Safe for threads.
 */
final class Store {
    static final int DEFAULT_MAX_CONFERENCES = 10_000;

    /** What came of a deletion. */
    enum Deletion {
        DELETED,
        /** The conference was unknown, deleted or over before. */
        NOTHING_TO_DELETE,
        /** The caller gave up before; nothing was deleted. */
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
     * Makes an empty store on a clock of its own.
     *
     * @param ids must never give the same id twice
     */
    Store(int maxConferences, InstantSource clock, Supplier<String> ids) {
        this.maxConferences = maxConferences;
        this.clock = clock;
        this.ids = ids;
    }

    /**
     * Grants the room, unless another request's conference holds it. A request whose conference
     * exists gets that conference again.
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

    /** Returns the conference; nothing where it is unknown, deleted or over. */
    synchronized Optional<Conference> get(String conferenceId) {
        return existing(byId.get(conferenceId), clock.instant());
    }

    /**
     * Deletes this conference and no other, unless its caller gave up.
     *
     * <p>A caller that gave up may have been told of the conference again since, so {@code givenUp}
     * is asked under the lock that {@code create} takes. A database does the same: lock the row as
     * {@code create} does before it names a conference, then ask {@code givenUp}, then delete and
     * commit. To ask before the row is locked is too early.
     */
    synchronized Deletion delete(String conferenceId, BooleanSupplier givenUp) {
        Optional<Conference> conference = existing(byId.get(conferenceId), clock.instant());
        if (givenUp.getAsBoolean()) {
            return Deletion.GIVEN_UP;
        }
        conference.ifPresent(this::drop);
        return conference.isPresent() ? Deletion.DELETED : Deletion.NOTHING_TO_DELETE;
    }

    /** Returns how many conferences take up memory, some of which may be over. */
    synchronized int size() {
        return byId.size();
    }

    /** Passes a conference on, but drops it if it is over. */
    private Optional<Conference> existing(Conference conference, Instant now) {
        if (conference != null && conference.booking().isOver(now)) {
            drop(conference);
            return Optional.empty();
        }
        return Optional.ofNullable(conference);
    }

    private boolean hasSpace(Instant now) {
        // Looking through all of them only when full keeps every other call short, and the memory
        // bounded all the same.
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
