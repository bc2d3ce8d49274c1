"""Every hook, public type and error is in the guide, as it is in the code; and the guide leads somewhere."""

from __future__ import annotations

import inspect
import re
from datetime import date, timedelta
from pathlib import Path

import pytest
import waypost.plugin
from plugin_surface import modules, names
from waypost.plugin import API_VERSION, errors, simulator, types
from waypost.plugin.spec import ChannelSpec, WrapperSpec

ROOT = Path(__file__).parents[2]
HOOKS = {name: hook for name, hook in vars(ChannelSpec).items() if not name.startswith("_")}
#: What each module defines, and what the package passes on from elsewhere.
PUBLIC = sorted(
    {(module, name) for module, tree in modules().items() for name in names(tree)}
    | {("waypost.plugin", name) for name in waypost.plugin.__all__}
)
ERRORS = [
    error for error in vars(errors).values() if isinstance(error, type) and issubclass(error, errors.ChannelError)
]


def signature(name: str, hook: object) -> str:
    """A hook as its section writes it."""
    assert callable(hook)
    found = inspect.signature(hook)
    taken = ", ".join(f"{item.name}: {item.annotation}" for item in found.parameters.values() if item.name != "self")
    colour = "async def" if inspect.iscoroutinefunction(hook) else "def"
    return f"`{colour} {name}({taken}) -> {found.return_annotation}`"


def section(page: str, title: str) -> str:
    """The text under a heading of the second level."""
    found = re.search(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", page, re.MULTILINE | re.DOTALL)
    return found[1] if found else ""


@pytest.mark.parametrize("name", sorted(HOOKS))
def test_every_hook_has_a_section(name: str, guide: dict[str, str]) -> None:
    text = section(guide["hooks.md"], name)
    assert signature(name, HOOKS[name]) in text
    for part in ("**When:**", "**Return**", "**Raise**", "```python runnable\n"):
        assert part in text, part
    colour = "async" if inspect.iscoroutinefunction(HOOKS[name]) else "sync"
    assert f"| [`{name}`](#{name}) | {colour} |" in guide["hooks.md"]
    assert f"@hookimpl\n{'async ' if colour == 'async' else ''}def {name}(" in text


def test_every_section_is_a_hook(guide: dict[str, str]) -> None:
    titles = re.findall(r"^## ([a-z_]+)$", guide["hooks.md"], re.MULTILINE)
    assert titles == list(HOOKS)[:5] + [name for name in HOOKS if name not in list(HOOKS)[:5]]


def test_the_hook_of_wrappers_is_there(guide: dict[str, str]) -> None:
    for page in ("hooks.md", "wrappers.md"):
        assert signature("wrap_send", WrapperSpec.wrap_send) in guide[page]


@pytest.mark.parametrize(("module", "name"), PUBLIC)
def test_every_public_name_has_a_line(module: str, name: str, guide: dict[str, str]) -> None:
    cells = [row.split(" | ")[0] for row in guide["types.md"].splitlines() if row.startswith("| `")]
    assert any(f"`{name}`" in cell for cell in cells), f"{module}.{name} is missing in docs/plugins/types.md"


def fields(model: type) -> set[str]:
    return {*model.__annotations__, *(name for name, value in vars(model).items() if isinstance(value, property))}


def test_every_line_of_the_types_is_a_name_or_a_field(guide: dict[str, str]) -> None:
    known = {name for _, name in PUBLIC} | fields(types.ChannelInfo) | fields(types.Context)
    for title in re.findall(r"^## (.+)$", guide["types.md"], re.MULTILINE):
        text = section(guide["types.md"], title).partition("### Features")[0]
        for row in re.findall(r"^\| (`.+?) \|", text, re.MULTILINE):
            assert set(re.findall(r"`([\w.]+)`", row)) <= known, row


@pytest.mark.parametrize("model", [types.ChannelInfo, types.Context])
def test_every_field_is_explained(model: type, guide: dict[str, str]) -> None:
    for field in fields(model):
        assert re.search(rf"^\| .*`{field}`.* \|", guide["types.md"], re.MULTILINE), field


@pytest.mark.parametrize("error", ERRORS)
def test_every_error_has_a_line(error: type[errors.ChannelError], guide: dict[str, str]) -> None:
    assert f"\n| `{error.__name__}` | `{error.code}` |" in guide["errors.md"]
    depth = len(error.__mro__) - len(errors.ChannelError.__mro__)
    assert re.search(rf"^.{{{3 * max(0, depth - 1)}}}(├─ |└─ |){error.__name__}\b", guide["errors.md"], re.MULTILINE)


def test_every_outcome_of_a_simulator_is_named(guide: dict[str, str]) -> None:
    table = section(guide["simulator.md"], "Outcomes")
    assert set(re.findall(r"`([A-Z_]{4,})`", table)) == set(simulator.Outcome.__members__)


def test_the_version_is_said_in_one_place(guide: dict[str, str]) -> None:
    """From one version to the next the guide needs one edit."""
    version = ".".join(map(str, API_VERSION))
    assert f"The version of the plugin API is **{version}**" in guide["versioning.md"]
    for page, text in guide.items():
        assert f'api="{version}"' not in text, f"{page} says which version it is; versioning.md does"


def test_deprecations_are_dated(guide: dict[str, str]) -> None:
    """Whatever goes is announced a year before, by days of the calendar."""
    calendar = section(guide["versioning.md"], "Deprecation calendar")
    found = re.findall(r"^\|.*\|$", calendar, re.MULTILINE)
    rows = [[cell.strip() for cell in row.strip("| ").split("|")] for row in found]
    assert rows[0][-2:] == ["announced", "goes not before"]
    for what, *_, announced, gone in (row for row in rows[2:] if row[0] != "–"):
        assert date.fromisoformat(gone) >= date.fromisoformat(announced) + timedelta(days=365), what


def test_no_link_is_broken(guide: dict[str, str]) -> None:
    def anchors(text: str) -> set[str]:
        titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
        return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}

    for page, text in guide.items():
        for target in re.findall(r"\]\((?!https?:)([^)\s]+)\)", text):
            path, _, anchor = target.partition("#")
            place = (ROOT / "docs" / "plugins" / path) if path else ROOT / "docs" / "plugins" / page
            assert place.exists(), f"{page}: {target}"
            if anchor:
                assert anchor in anchors(place.read_text(encoding="utf-8")), f"{page}: {target}"


def test_the_map_names_every_page(guide: dict[str, str]) -> None:
    assert set(re.findall(r"\]\(([\w.]+\.md)\)", guide["README.md"])) == set(guide) - {"README.md"}
