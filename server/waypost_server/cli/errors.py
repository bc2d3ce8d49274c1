"""What a command raises where it cannot be done; the message says why and what to do."""

from __future__ import annotations


class AnswerLostError(Exception):
    """The answer could not be written; the message says why and what to do."""


class CommandError(Exception):
    """The command cannot be done; the message says why and what to do."""
