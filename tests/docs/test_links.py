"""Links inside the repository lead somewhere, and no page names a machine or a registry."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
_CODE = re.compile(r"^```.*?^```$|`[^`\n]*`", re.DOTALL | re.MULTILINE)
_LINK = re.compile(r"\]\(([^)\s]+)\)")
#: A file of ours named in passing: `docs/…`, `core/…` and so on, in backticks.
_NAMED = re.compile(r"`((?:docs|core|server|plugins|examples|tests|benchmarks|requirements)/[A-Za-z0-9_./-]+)`")


def anchors(text: str) -> set[str]:
    """The names under which a page's headings are linked to."""
    found = re.findall(r"^#+ (.+)$", re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in found}


def test_links_lead_somewhere(pages: Any) -> None:
    dead = []
    for page in pages:
        for link in _LINK.findall(_CODE.sub("", page.text)):
            path, _, anchor = link.partition("#")
            if "://" in path or path.startswith("mailto:"):
                continue
            target = (ROOT / page.name).parent / path if path else ROOT / page.name
            if not target.exists():
                dead.append(f"{page.name}: {link}")
            elif anchor and anchor not in anchors(target.read_text(encoding="utf-8")):
                dead.append(f"{page.name}: {link} (no such heading)")
    assert not dead


@pytest.mark.parametrize("name", ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "SECURITY.md"])
def test_files_named_in_passing_are_there(name: str, pages: Any) -> None:
    missing = [path for path in _NAMED.findall(pages[name].text) if not (ROOT / path).exists()]
    assert not missing


def test_no_page_names_a_machine_or_a_registry(pages: Any) -> None:
    # Put together from halves, so that this file holds none of what it looks for.
    halves = [("/wo", "rk/"), ("/ho", "me/"), ("/ro", "ot/"), ("/t", "mp/"), ("py", "pi\\.o"), ("python", "hosted")]
    halves += [("npm", "js"), ("regis", "try\\.")]
    private = re.compile("|".join("".join(pair) for pair in halves), re.IGNORECASE)
    found = [f"{page.name}: {match[0]}" for page in pages for match in private.finditer(page.text)]
    assert not found


def test_decisions_are_numbered_once_and_listed(pages: Any) -> None:
    names = sorted(Path(page.name).name for page in pages if page.name.startswith("docs/adr/0"))
    assert len({name[:4] for name in names}) == len(names) > 10
    index = pages["docs/adr/README.md"].text
    assert all(f"]({name})" in index for name in names)
