package com.example.reservations;

/** A booking that was granted, and the id of the conference. */
record Conference(String id, Booking booking) {}
