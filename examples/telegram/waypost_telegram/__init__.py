"""Telegram bots, a channel of Waypost that a third party could have written."""
