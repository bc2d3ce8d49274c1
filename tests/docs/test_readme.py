"""The generated tables are those of the code as it is, and the first screen shows the two commands."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import pytest


@pytest.mark.parametrize("name", ["README.md", "docs/channels/README.md", "docs/partners.md", "docs/operators.md"])
def test_its_tables_are_up_to_date(
    name: str, generate: ModuleType, pages: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert pages[name].text == generate.rendered(name), f"{name} is out of date; run `make docs`"


def test_every_generated_page_is_tested(generate: ModuleType) -> None:
    assert set(generate.GENERATED) == {"README.md", "docs/channels/README.md", "docs/partners.md", "docs/operators.md"}


def test_the_two_commands_are_in_the_first_screen(pages: Any) -> None:
    first = pages["README.md"].text.splitlines()[:45]
    assert "make demo" in first
    assert "make test" in first


def test_every_channel_has_a_page(generate: ModuleType, pages: Any) -> None:
    for name in generate.PLUGINS:
        assert f"docs/channels/{name}.md" in pages.by_name
