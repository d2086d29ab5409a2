package com.example.reservations;

import java.util.Optional;
import java.util.OptionalInt;

/** The options of a room. The backend does not set an option that is empty or false. */
record RoomOptions(OptionalInt maxOccupants, boolean lobby, Optional<Secret> password) {
    static final RoomOptions NONE =
            new RoomOptions(OptionalInt.empty(), false, Optional.empty());
}
