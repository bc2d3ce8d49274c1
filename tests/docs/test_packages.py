"""What is published: each distribution declares what it imports and nothing else, and carries its licence."""

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
PLUGINS = ("email_sendgrid", "instagram", "messenger", "meta_graph", "sms_twilio", "whatsapp")
DISTRIBUTIONS = ("core", "server", *(f"plugins/{name}" for name in PLUGINS))


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


def _declared(project: dict[str, Any]) -> set[str]:
    extras = [item for items in project.get("optional-dependencies", {}).values() for item in items]
    return {re.split(r"[^\w-]", item)[0].replace("_", "-").lower() for item in project["dependencies"] + extras}


def _owners(folder: str) -> dict[str, set[str]]:
    """What a distribution imports, and the distributions that provide it."""
    provided = packages_distributions()
    names = {name for path in (ROOT / folder).glob("waypost*/**/*.py") for name in _imported(path)}
    return {name: {owner.replace("_", "-").lower() for owner in provided.get(name, [name])} for name in names}


@pytest.mark.parametrize("folder", DISTRIBUTIONS)
def test_what_is_imported_is_declared(folder: str) -> None:
    project = _project(folder)
    known = _declared(project) | {project["name"]}
    assert [name for name, owners in _owners(folder).items() if not owners & known] == []


@pytest.mark.parametrize("name", PLUGINS)
def test_a_plugin_declares_nothing_else(name: str) -> None:
    imported = set().union(*_owners(f"plugins/{name}").values())
    assert _declared(_project(f"plugins/{name}")) - imported == set()


@pytest.mark.parametrize("folder", DISTRIBUTIONS)
def test_licence_and_readme_are_in_it(folder: str) -> None:
    project = _project(folder)
    assert (project["license"], project["license-files"], project["readme"]) == ("Apache-2.0", ["LICENSE"], "README.md")
    assert (ROOT / folder / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()
    assert f"# {project['name']}\n" in (ROOT / folder / "README.md").read_text(encoding="utf-8")
