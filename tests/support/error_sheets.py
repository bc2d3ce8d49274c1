"""The error tables of the fact sheets, as each Meta channel keeps its own beside its tests."""

from __future__ import annotations

from pathlib import Path

_CHECKOUT = Path(__file__).parents[2]


def sheet_rows(plugin: str) -> list[tuple[int, int | None, str]]:
    """Code, subcode and the sheet's own word for the class, of every row."""
    rows = []
    path = _CHECKOUT / "plugins" / plugin / "tests" / "fixtures" / "error_table.txt"
    for line in path.read_text().splitlines():
        if not line.startswith("#"):
            codes, word, _ = line.split(" | ")
            code, _, subcode = codes.partition("/")
            rows.append((int(code), int(subcode) if subcode else None, word))
    return rows
