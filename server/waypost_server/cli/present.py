"""Presenting answers: tables and lines for people, one JSON document for scripts."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any

import typer

Json = Annotated[bool, typer.Option("--json", help="Answer with one JSON document instead.")]
Column = str | Callable[[Mapping[str, Any]], Any]

#: How wide tables may be where nobody's terminal says.
UNLIMITED = 200


def present(answer: Any, human: Callable[[Any], None], *, as_json: bool) -> None:
    """Print an answer, as JSON if that is wanted."""
    if as_json:
        sys.stdout.write(json.dumps(answer, ensure_ascii=False, indent=2) + "\n")
    else:
        human(answer)
    sys.stdout.flush()


def say(text: str) -> None:
    """Print a line, at once."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def table(columns: Mapping[str, Column], *, empty: str) -> Callable[[Sequence[Mapping[str, Any]]], None]:
    """How to print rows as a table: heading → field or function; `empty` is said when there are none."""

    def show(rows: Sequence[Mapping[str, Any]]) -> None:
        if not rows:
            say(empty)
            return
        from rich.box import SIMPLE_HEAD
        from rich.table import Table

        drawn = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1))
        for heading in columns:
            drawn.add_column(heading, overflow="fold")
        for row in rows:
            drawn.add_row(*(_cell(column(row) if callable(column) else row[column]) for column in columns.values()))
        console().print(drawn)

    return show


def lines(answer: Mapping[str, Any]) -> None:
    """Print an object as `field: value` lines; what is empty is left out."""
    width = max(len(name) for name in answer)
    for name, value in answer.items():
        if value not in (None, "", [], {}):
            say(f"{name.replace('_', ' '):{width}}  {_cell(value)}")


def console() -> Any:
    """A console as wide as the terminal, or wide enough for ids where there is none."""
    from rich.console import Console

    return Console(
        file=sys.stdout, width=None if sys.stdout.isatty() else UNLIMITED, highlight=False, markup=False, emoji=False
    )


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(map(_cell, value))
    if isinstance(value, dict):
        return json.dumps(value, ensure_ascii=False)
    return str(value)
