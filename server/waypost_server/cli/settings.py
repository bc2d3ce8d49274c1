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
            try:
                settings[name[:-1]] = json.loads(value)
            except ValueError as error:
                raise typer.BadParameter(f"what follows {name[:-1]}:= is not JSON", param_hint="--set") from error
        else:
            settings[name] = value
    return settings


def _text(given: str) -> str:
    if given == "-":
        return sys.stdin.read()
    if given.startswith("@"):
        try:
            return Path(given[1:]).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise typer.BadParameter(f"{given[1:]} cannot be read", param_hint="--settings") from error
    return given


def _object(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError as error:
        raise typer.BadParameter("it is not JSON", param_hint="--settings") from error
    if not isinstance(found, dict):
        raise typer.BadParameter("it must be a JSON object", param_hint="--settings")
    return found
