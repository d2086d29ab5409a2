package com.example.reservations;

/** A password or an API key. No log line shows it by accident. */
record Secret(String value) {
    @Override
    public String toString() {
        return "[secret]";
    }
}
