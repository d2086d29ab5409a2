package com.example.reservations;

/**
 * The proxy that calls, and the number of its request. The numbers of a holder grow from request to
 * request. A proxy without a holder has the holder "" and the number 0.
 */
record Hold(String holder, long number) {
    static final Hold NO_HOLDER = new Hold("", 0);
}
