"""The plugin author guide: its pages, and the code in them."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

GUIDE = Path(__file__).parents[2] / "docs" / "plugins"
_RUNNABLE = re.compile(r"^```python runnable\n(.*?)^```$", re.MULTILINE | re.DOTALL)

Run = Callable[[str], Awaitable[ModuleType]]


@pytest.fixture(scope="session")
def guide() -> dict[str, str]:
    """The pages by name."""
    return {page.name: page.read_text(encoding="utf-8") for page in sorted(GUIDE.glob("*.md"))}


@pytest.fixture
def run_examples(guide: dict[str, str]) -> Run:
    """Run a page's blocks marked `python runnable`, in order, in one module; `await` stands at the top as in a REPL."""

    async def run(page: str) -> ModuleType:
        module = ModuleType(page.removesuffix(".md"))
        namespace: dict[str, Any] = vars(module)
        for block in _RUNNABLE.finditer(guide[page]):
            # Blank lines before it, so that a traceback names the page's own line.
            source = "\n" * guide[page].count("\n", 0, block.start(1)) + block[1]
            code = compile(source, page, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
            answer = eval(code, namespace)
            if inspect.isawaitable(answer):
                await answer
        return module

    return run
