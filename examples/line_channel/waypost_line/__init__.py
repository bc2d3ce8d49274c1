"""A made-up provider that speaks lines over TCP: what a channel looks like that is not HTTP."""
