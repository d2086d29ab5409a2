package com.example.reservations;

/** What came of a booking. */
sealed interface Outcome {

    /** The room is held by this conference, which the same request created. */
    record Granted(Conference conference) implements Outcome {}

    /** The room is held already, by this conference of another request. */
    record Held(Conference conference) implements Outcome {}

    /** The booking was over before it was made; nothing is held. */
    record TooLate() implements Outcome {}

    /** The room is free, but the store has no space: it holds this many conferences. */
    record Full(int conferences) implements Outcome {}
}
