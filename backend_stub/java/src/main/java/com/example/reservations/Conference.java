package com.example.reservations;

/** A booking that was granted, under the id that it got. */
record Conference(String id, Booking booking) {}
