"""Waypost: a messaging gateway whose every channel is an installable plugin."""

__version__ = "0.1.0"
