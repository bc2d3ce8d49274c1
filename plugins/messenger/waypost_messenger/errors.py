"""Messenger's errors: those of the Send API are all of them."""

from __future__ import annotations

from waypost_meta_graph import ErrorTable
from waypost_meta_graph.messaging_errors import MESSAGING_ROWS

ERRORS = ErrorTable(MESSAGING_ROWS)
