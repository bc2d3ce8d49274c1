"""Settings on the command line: as JSON, from a file or standard input, or one by one."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

SettingsJson = Annotated[
    str | None,
    typer.Option(
        "--settings",
        help='A JSON object, @FILE, or - for standard input. A value may be {"$env": "NAME"} or {"$file": "/path"}.',
    ),
]
SettingsPairs = Annotated[
    list[str] | None, typer.Option("--set", help="NAME=TEXT or NAME:=JSON, beside or instead of --settings.")
]

#: Deeper than any setting, and well within what can be serialized again.
DEEPEST = 32


def read_settings(given: str | None, pairs: Sequence[str] | None) -> dict[str, Any]:
    """The settings that were given. Raises `typer.BadParameter`."""
    settings: dict[str, Any] = {}
    if given is not None:
        settings = _object(_text(given))
    for pair in pairs or ():
        name, equals, value = pair.partition("=")
        if not equals or not name.strip(":"):
            raise typer.BadParameter("write NAME=TEXT or NAME:=JSON", param_hint="--set")
        if name.endswith(":"):
            settings[name[:-1]] = _json(value, f"what follows {name[:-1]}:=", "--set")
        else:
            settings[name] = value
    return settings


def _text(given: str) -> str:
    if given == "-":
        try:
            return sys.stdin.read()
        except UnicodeDecodeError as error:
            raise typer.BadParameter("standard input is not UTF-8 text", param_hint="--settings") from error
    if given.startswith("@"):
        try:
            return Path(given[1:]).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise typer.BadParameter(f"{given[1:]} cannot be read", param_hint="--settings") from error
    return given


def _object(text: str) -> dict[str, Any]:
    found = _json(text, "it", "--settings")
    if not isinstance(found, dict):
        raise typer.BadParameter("it must be a JSON object", param_hint="--settings")
    return found


def _json(text: str, what: str, option: str) -> Any:
    try:
        found = json.loads(text)
    except RecursionError as error:
        raise typer.BadParameter(f"{what} is nested too deeply", param_hint=option) from error
    except ValueError as error:
        raise typer.BadParameter(f"{what} is not JSON", param_hint=option) from error
    if _depth(found) > DEEPEST:
        raise typer.BadParameter(f"{what} is nested too deeply", param_hint=option)
    return found


def _depth(value: Any) -> int:
    """How deep objects and lists are nested, as far as it is of interest."""
    depth, level = 0, [value]
    while level and depth <= DEEPEST:
        level = [
            item
            for inner in level
            if isinstance(inner, dict | list)
            for item in (inner.values() if isinstance(inner, dict) else inner)
        ]
        depth += bool(level)
    return depth
