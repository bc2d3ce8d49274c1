"""Finds channel plugins and calls exactly the one that is meant."""
