"""The listener for Jitsi clients: bytes → request → reply → answer."""
