"""The examples live on `waypost.plugin` alone; import-linter cannot see them, since they are not installed."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
SOURCES = sorted(EXAMPLES.glob("*/waypost_*/**/*.py"))


def imported(source: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(source.read_text())):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide where a name comes from"
            yield f"{node.module}.{node.names[0].name}" if node.module == "waypost" else str(node.module)


def test_there_are_examples() -> None:
    assert {source.parents[1].name for source in SOURCES} >= {"audit_trail", "line_channel", "telegram"}


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: str(source.relative_to(EXAMPLES)))
def test_an_example_imports_the_plugin_api_only(source: Path) -> None:
    own = source.relative_to(EXAMPLES).parts[1]
    ours = {name for name in imported(source) if name.partition(".")[0].startswith("waypost")}
    foreign = {name for name in ours if name.split(".")[0] != own and name.split(".")[:2] != ["waypost", "plugin"]}
    assert foreign == set()
