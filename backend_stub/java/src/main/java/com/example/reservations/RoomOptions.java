package com.example.reservations;

import java.util.Optional;
import java.util.OptionalInt;

/** What applies inside a room. What is empty, or a lobby that is false, is not said to Jitsi. */
record RoomOptions(OptionalInt maxOccupants, boolean lobby, Optional<Secret> password) {
    static final RoomOptions NONE =
            new RoomOptions(OptionalInt.empty(), false, Optional.empty());
}
