"""Instagram messaging, a channel of Waypost."""
