"""Messenger (Facebook Pages), a channel of Waypost."""
