"""Waypost's HTTP face: the partner and token APIs, providers' webhooks, the console and the command line."""
