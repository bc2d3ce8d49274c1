"""Instagram's errors, over those that the Send API shares with Messenger.

Source: Meta, Instagram Platform, "Error codes". The bare subcodes come from third parties, who saw them as code or as
subcode.
"""

from __future__ import annotations

from waypost.plugin import ContentRejected, InvalidRecipient, Transient
from waypost_meta_graph import ErrorKey, ErrorRow, ErrorTable
from waypost_meta_graph.messaging_errors import MESSAGING_ROWS

_THREAD_GONE = ErrorRow(InvalidRecipient, "The thread was deleted or archived, or its owner is not connected.")
_REPLY_USED = ErrorRow(ContentRejected, "The comment has had its one private reply.")

ROWS: dict[ErrorKey, ErrorRow] = {
    (2534001, None): _THREAD_GONE,
    (None, 2534001): _THREAD_GONE,
    (2534025, None): _REPLY_USED,
    (None, 2534025): _REPLY_USED,
    (None, 1545133): ErrorRow(Transient, "Instagram is temporarily out of service."),
}

ERRORS = ErrorTable({**MESSAGING_ROWS, **ROWS})
