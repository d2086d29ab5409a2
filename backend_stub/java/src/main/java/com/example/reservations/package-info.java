/**
 * A reservation backend to start from: it keeps its conferences in memory.
 *
 * <p>A call goes from {@code ReservationServer} to {@code ReservationService}, which turns messages
 * into values with {@code Messages}, asks {@code Policy} who is denied, and {@code Store} for the
 * room. The store and its values ({@code Booking}, {@code Conference}, {@code Outcome}) know
 * nothing of gRPC: a database goes there.
 */
package com.example.reservations;
