package com.example.reservations;

/** A password or key that does not appear in a log line by accident. */
record Secret(String value) {
    @Override
    public String toString() {
        return "[secret]";
    }
}
