"""The accept path: authenticate → validate → route → price → one durable commit."""
