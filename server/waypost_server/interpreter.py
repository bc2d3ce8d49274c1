"""Python's interpreter, set for a server: rarer rounds of the garbage collector, quicker turns of the threads."""

from __future__ import annotations

import gc
import sys

#: Objects made between rounds. A request makes some hundred, nearly all freed by their reference counts.
YOUNG = 50_000
#: How long a thread that wants to go on waits before it asks for its turn, in seconds. SQLite's writer wants a few
#: turns for each commit; at Python's 5 ms it would wait most of the time for an event loop that is busy.
TURN = 0.0002


def tune_interpreter() -> None:
    """Set the interpreter once everything is loaded. Measured on the accept path; see benchmarks/."""
    gc.collect()
    # What start-up made is never looked at again.
    gc.freeze()
    gc.set_threshold(YOUNG, 20, 50)
    sys.setswitchinterval(TURN)
