"""Waypost's HTTP face: the partner and token APIs, providers' webhooks, the command line and the demo."""
