"""The guide's examples run, and those of the hooks make a plugin that the loader takes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from types import ModuleType

import pytest
from waypost.host.loader import inspect_plugin
from waypost.plugin.spec import ChannelSpec

Run = Callable[[str], Awaitable[ModuleType]]
PAGES = ["hooks.md", "types.md", "errors.md", "settings.md", "simulator.md", "wrappers.md"]
HOOKS = {name for name in vars(ChannelSpec) if not name.startswith("_")}


def test_no_other_page_has_runnable_examples(guide: dict[str, str]) -> None:
    assert [page for page in guide if "```python runnable\n" in guide[page]] == sorted(PAGES)


@pytest.mark.parametrize("page", PAGES)
async def test_the_examples_run(page: str, run_examples: Run) -> None:
    await run_examples(page)


async def test_the_hooks_page_is_a_plugin_with_every_hook(run_examples: Run) -> None:
    plugin = inspect_plugin("pigeon", await run_examples("hooks.md"))
    assert plugin.hooks == HOOKS
