"""Grades that plugins have reached on this machine, kept beside the vault's key for `waypost channels list`.

A grade belongs to a version: another version's says nothing of the one that is installed.
"""

from __future__ import annotations

import contextlib
import json
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from waypost_server.cli.reach import load_config

FILE = "grades.json"


def remember(plugin: str, grade: str | None) -> None:
    """Keep a plugin's grade, where this deployment has a data folder; a grade that cannot be kept is no failure."""
    file = _file()
    if file.parent.is_dir():
        kept = {**_kept(file), plugin: {"grade": grade, "version": _installed(plugin)}}
        with contextlib.suppress(OSError):
            file.write_text(json.dumps(kept, indent=2) + "\n", encoding="utf-8")


def graded(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows of `channels list` with the grade of each installed version; None where it was not checked."""
    kept = _kept(_file())
    return [{**row, "grade": _grade(kept.get(row["id"]), row)} for row in rows]


def _grade(known: object, row: dict[str, Any]) -> str | None:
    if not isinstance(known, dict) or known.get("version") != f"{row['distribution']} {row['version']}":
        return None
    grade = known.get("grade")
    return grade if isinstance(grade, str) else None


def _installed(plugin: str) -> str | None:
    from waypost.plugin.spec import CHANNELS_GROUP

    for point in entry_points(group=CHANNELS_GROUP, name=plugin):
        if point.dist is not None:
            return f"{point.dist.name} {point.dist.version}"
    return None


def _file() -> Path:
    return load_config().master_key_file.parent / FILE


def _kept(file: Path) -> dict[str, Any]:
    try:
        kept = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return kept if isinstance(kept, dict) else {}
