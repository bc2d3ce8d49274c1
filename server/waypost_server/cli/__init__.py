"""`waypost …`: the command line. Only `main` is here, so that starting costs little; commands import what they need."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command and exit: 0 done, 1 refused with one sentence on standard error, 2 not understood."""
    from waypost_server.cli.failure import run_safely

    if sys.stdout is None:
        sys.stderr = sys.stderr or open(os.devnull, "w")  # noqa: SIM115, PTH123 - for as long as the process lives
        sys.stderr.write("Standard output is closed, and an answer may be shown this once; open it.\n")
        sys.exit(1)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # rather than to lose a whole answer for one character
    os.umask(0o077)  # the database, its key and its journal are nobody else's to read
    sys.exit(run_safely(list(arguments) if arguments is not None else sys.argv[1:]))
