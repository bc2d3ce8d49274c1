"""WhatsApp by Meta's Cloud API, for Waypost."""
