"""SMS and WhatsApp through Twilio, for Waypost."""
