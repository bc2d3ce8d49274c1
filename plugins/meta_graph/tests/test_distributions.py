"""The four distributions declare what they import, so that each can be installed by itself."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from pathlib import Path

import pytest

PLUGINS = Path(__file__).parents[2]


def imported(package: Path) -> set[str]:
    """The top-level packages that a package imports, its own and Python's left out."""
    found = set()
    for path in package.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                found |= {name.name.partition(".")[0] for name in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                found.add(node.module.partition(".")[0])
    return found - set(sys.stdlib_module_names) - {package.name}


@pytest.mark.parametrize("plugin", ["meta_graph", "whatsapp", "messenger", "instagram"])
def test_what_is_imported_is_declared_and_nothing_else(plugin: str) -> None:
    project = tomllib.loads((PLUGINS / plugin / "pyproject.toml").read_text())["project"]
    declared = {re.split(r"[<>=!~\[; ]", wanted)[0].replace("-", "_") for wanted in project["dependencies"]}
    assert imported(PLUGINS / plugin / f"waypost_{plugin}") == declared
