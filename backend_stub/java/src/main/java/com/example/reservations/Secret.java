package com.example.reservations;

/** A password or key, which no log line can show by accident. */
record Secret(String value) {
    @Override
    public String toString() {
        return "[secret]";
    }
}
