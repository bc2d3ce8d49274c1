"""What is published: each distribution declares what it imports, and carries its licence."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
DISTRIBUTIONS = ("core", "server")


def _project(folder: str) -> dict[str, Any]:
    project: dict[str, Any] = tomllib.loads((ROOT / folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return project


def _imported(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
    return {name.partition(".")[0] for name in names} - sys.stdlib_module_names


@pytest.mark.parametrize("folder", DISTRIBUTIONS)
def test_what_is_imported_is_declared(folder: str) -> None:
    project = _project(folder)
    extras = [item for items in project.get("optional-dependencies", {}).values() for item in items]
    declared = {re.split(r"[^\w-]", item)[0].replace("_", "-").lower() for item in project["dependencies"] + extras}
    provided = packages_distributions()
    for path in (ROOT / folder).glob("waypost*/**/*.py"):
        for name in _imported(path):
            owners = {owner.replace("_", "-").lower() for owner in provided.get(name, [name])}
            assert owners & (declared | {project["name"]}), f"{path.name} imports {name}"


@pytest.mark.parametrize("folder", DISTRIBUTIONS)
def test_licence_and_readme_are_in_it(folder: str) -> None:
    project = _project(folder)
    assert (project["license"], project["license-files"], project["readme"]) == ("Apache-2.0", ["LICENSE"], "README.md")
    assert (ROOT / folder / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()
    assert f"# {project['name']}\n" in (ROOT / folder / "README.md").read_text(encoding="utf-8")
