/**
 * A reservation backend to copy and extend. It keeps its conferences in memory.
 *
 * <p>A call goes from {@code ReservationServer} to {@code ReservationService}. The service converts
 * messages to values with {@code Messages}, asks {@code Policy} whether a rule denies the room, and
 * asks {@code Store} for the room. The store and its values ({@code Booking}, {@code Conference},
 * {@code Outcome}) do not use gRPC: put your database there.
 */
package com.example.reservations;
