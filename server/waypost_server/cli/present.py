"""Presenting answers: tables and lines for people, one JSON document for scripts."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Annotated, Any

import typer

from waypost_server.cli.errors import AnswerLostError

Json = Annotated[bool, typer.Option("--json", help="Answer with one JSON document instead.")]
Column = str | Callable[[Mapping[str, Any]], Any]

#: How wide tables may be where nobody's terminal says.
UNLIMITED = 200


def present(answer: Any, human: Callable[[Any], None], *, as_json: bool) -> None:
    """Print an answer, as JSON if that is wanted."""
    if as_json:
        # Without UTF-8 the stream would put its own marks in place of what it cannot write, which is no JSON.
        escaped = (sys.stdout.encoding or "").lower().replace("-", "") != "utf8"
        say(json.dumps(answer, ensure_ascii=escaped, indent=2))
    else:
        human(answer)


def present_warned(answer: Mapping[str, Any], *, as_json: bool) -> None:
    """Say an answer's warnings on standard error, and print the rest of it; as JSON, all of it."""
    for warning in answer["warnings"]:
        sys.stderr.write(f"Warning: {warning}\n")
    rest = {name: value for name, value in answer.items() if name != "warnings"}
    present(answer if as_json else rest, lines, as_json=as_json)


def say(text: str) -> None:
    """Print a line, at once. Raises `AnswerLostError`, or `BrokenPipeError` where nobody reads any more."""
    with _at_once():
        sys.stdout.write(text + "\n")


@contextlib.contextmanager
def _at_once() -> Iterator[None]:
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise AnswerLostError(
            f"The answer could not be written ({error.strerror}); what was asked for is done all the same, so look "
            "before you ask again."
        ) from error


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
        with _at_once():
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
