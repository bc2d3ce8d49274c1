"""Values that JSON's readers or writers stumble over, as they may stand in a delivery."""

from __future__ import annotations

from typing import Any

import pytest

_ODDITIES = {
    "deeper than is written": b"[" * 300 + b"]" * 300,
    "objects without end": b'{"a":' * 1000 + b"1" + b"}" * 1000,
    "deeper than is read": b"[" * 10_000 + b"]" * 10_000,
    "lone surrogate and NUL": b'"\\ud800\\u0000"',
    "control character": b'"a\x01b"',
    "no UTF-8": b'"\xff\xfe"',
    "not a number": b"NaN",
    "infinity": b"-Infinity",
    "beyond a float": b"1e999",
    "beyond 64 bits": b"9" * 30,
    "more digits than Python converts": b"9" * 5000,
}
#: One parameter for each.
ODDITIES: list[Any] = [pytest.param(value, id=name) for name, value in _ODDITIES.items()]
