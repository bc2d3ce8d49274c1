"""How the simulated Cloud API says no."""

from __future__ import annotations

from waypost_meta_graph.simulator import Refusal


def refused(code: int, title: str, details: str, status: int = 400) -> Refusal:
    """A WhatsApp error as the Cloud API writes it."""
    return Refusal(status, code, f"(#{code}) {title}", details=details)


def required(name: str) -> Refusal:
    """Something is missing."""
    return refused(131008, "Required parameter is missing", f"Parameter {name} is required.")


def invalid(details: str) -> Refusal:
    """Something has a value that is not valid."""
    return refused(131009, "Parameter value is not valid", details)
