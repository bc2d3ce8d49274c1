"""An append-only trail of every send, a wrapper of Waypost that a third party could have written."""
