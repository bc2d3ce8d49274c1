"""Python's garbage collector, set for a server: what start-up made is never looked at again, and rounds are rarer."""

from __future__ import annotations

import gc

#: Objects made between rounds. A request makes some hundred, nearly all freed by their reference counts.
YOUNG = 50_000


def tune_collector() -> None:
    """Set the collector once everything is loaded. Measured on the accept path; see benchmarks/."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG, 20, 50)
