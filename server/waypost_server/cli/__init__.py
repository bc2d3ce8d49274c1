"""`waypost …`: the command line. Only `main` is here, so that starting costs little; commands import what they need."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command and exit: 0 done, 1 refused with one sentence on standard error, 2 not understood."""
    from waypost_server.cli.failure import run_safely

    os.umask(0o077)  # the database, its key and its journal are nobody else's to read
    sys.exit(run_safely(list(arguments) if arguments is not None else sys.argv[1:]))
