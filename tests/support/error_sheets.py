"""The error tables of the fact sheets, as each plugin keeps its own beside its tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

_CHECKOUT = Path(__file__).parents[2]


def sheet_rows(plugin: str) -> list[tuple[int, int | None, str]]:
    """Code, subcode and the sheet's own word for the class, of every row."""
    rows = []
    for codes, word, _ in _cells(plugin):
        code, _, subcode = codes.partition("/")
        rows.append((int(code), int(subcode) if subcode else None, word))
    return rows


def sheet_cases(plugin: str) -> list[tuple[int, str, str]]:
    """HTTP status, the sheet's own word for the class, and the case, where a provider has no codes."""
    return [(int(status), word, case) for status, word, case in _cells(plugin)]


def _cells(plugin: str) -> Iterator[list[str]]:
    path = _CHECKOUT / "plugins" / plugin / "tests" / "fixtures" / "error_table.txt"
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            yield line.split(" | ")
