package com.example.reservations;

/** The decision of the store about a booking. */
sealed interface Outcome {

    /**
     * The request created this conference, which holds the room.
     *
     * @param hold the number in the row of the holder that asked
     */
    record Granted(Conference conference, long hold) implements Outcome {}

    /**
     * The room is not free: this conference of another request holds it.
     *
     * @param hold the number in the row of the holder that asked
     */
    record Held(Conference conference, long hold) implements Outcome {}

    /** The end of the booking has already passed; the store created no conference. */
    record TooLate() implements Outcome {}

    /** The room is free, but the store holds its maximum number of conferences. */
    record Full(int conferences) implements Outcome {}
}
