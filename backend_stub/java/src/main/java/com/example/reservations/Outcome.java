package com.example.reservations;

/** The decision of the store about a booking. */
sealed interface Outcome {

    /** The request created this conference, which holds the room. */
    record Granted(Conference conference) implements Outcome {}

    /** The room is not free: this conference of another request holds it. */
    record Held(Conference conference) implements Outcome {}

    /** The end of the booking has already passed; the store created no conference. */
    record TooLate() implements Outcome {}

    /** The room is free, but the store holds its maximum number of conferences. */
    record Full(int conferences) implements Outcome {}
}
