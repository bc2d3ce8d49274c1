"""Email by SendGrid, as a Waypost channel plugin."""
