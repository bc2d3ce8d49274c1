"""The file: one JSON object a line, appended in one write, never read or changed."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson


class Trail:
    """An open file that only grows. Several processes may append to the same one.

    A line is handed to the operating system, not forced to disk: it survives the process, not a power cut. The file
    belongs on a local disk, since writing it holds up the event loop for as long as the write takes.
    """

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def append(self, line: Mapping[str, Any]) -> None:
        """Append one line. Raises `OSError`, such as for a full disk."""
        data = orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE)
        if os.write(self._file, data) != len(data):
            raise OSError("the trail took a part of a line only")

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)
