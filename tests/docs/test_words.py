"""The guides name everything there is, and nothing that is not."""

from __future__ import annotations

import re
import shlex
import tomllib
import typing
from pathlib import Path
from typing import Any

import pytest
import typer.core
import typer.main
from waypost.config import Config
from waypost.lifecycle.evidence import Kind, Source
from waypost.lifecycle.status import Status
from waypost.plugin import errors
from waypost.refusals import ALL_REFUSALS
from waypost_server.cli.commands import waypost
from waypost_server.rest.partner_request import FallbackLeg, PartnerMessage
from waypost_server.rest.token_request import TokenMessage

ROOT = Path(__file__).parents[2]


def first_cells(section: str) -> set[str]:
    """The code in the first cells of a section's tables."""
    rows = re.findall(r"^\| (`[^|]+`) \|", section, re.MULTILINE)
    return {name for row in rows for name in re.findall(r"`([^`]+)`", row)}


def names(model: Any) -> set[str]:
    """A model's fields as a partner writes them."""
    return {field.alias or name for name, field in model.model_fields.items()}


@pytest.mark.parametrize(
    ("heading", "wanted"),
    [
        ("## Statuses", set(typing.get_args(Status))),
        ("### Fallback steps", names(FallbackLeg)),
        ("## The token API: send", names(TokenMessage)),
    ],
)
def test_the_partner_guide_is_complete(heading: str, wanted: set[str], pages: Any) -> None:
    assert first_cells(pages["docs/partners.md"].section(heading)) == wanted


def test_every_field_of_a_request_is_there(pages: Any) -> None:
    section = pages["docs/partners.md"].section("## The partner API: send")
    assert first_cells(section.split("\n### ")[0]) == names(PartnerMessage)


def test_every_event_is_there(pages: Any) -> None:
    events = pages["docs/partners.md"].section("## Read").split("The events:")[1].split("A page of")[0]
    assert first_cells(events) == set(typing.get_args(Kind))
    assert all(f"`{source}`" in pages["docs/partners.md"].text for source in typing.get_args(Source))


def test_every_code_is_there(pages: Any) -> None:
    section = pages["docs/partners.md"].section("## Errors")
    ends = errors.Permanent | errors.AccountBlocked | errors.RateLimited | errors.Transient
    told = {cls.code for cls in errors.ERROR_CLASSES.values() if issubclass(cls, ends)}
    others = {"TEMPORARY_FAILURE", "EXPIRED", "OUTCOME_UNKNOWN", "UNDELIVERED", "FAILED", "CANCELED", "QUARANTINED"}
    assert first_cells(section) == {refusal.code for refusal in ALL_REFUSALS} | told | others


def test_every_variable_and_no_other_is_named(pages: Any) -> None:
    # The last one is the command line's own.
    known = {f"WAYPOST_{name.upper()}" for name in Config.model_fields} | {"WAYPOST_DEBUG"}
    assert known == set(re.findall(r"WAYPOST_[A-Z_]+[A-Z]", pages["docs/operators.md"].section("## Configuration")))
    for page in pages:
        assert set(re.findall(r"\bWAYPOST_[A-Z_]+[A-Z]", page.text)) <= known, page.name


def test_every_command_that_is_named_can_be_given(pages: Any) -> None:
    """In passing, too: the group, the command, its options, and its arguments where any are shown."""
    root = typer.main.get_command(waypost)
    wrong = []
    for page in pages:
        for told in re.findall(r"`(?:\.venv/bin/)?waypost ([a-z][^`\n]*)`", page.text):
            command, words = root, shlex.split(told)
            try:
                while words and isinstance(command, typer.core.TyperGroup):
                    command = command.commands[words.pop(0)]
                if words and "--help" not in words:
                    command.make_context("waypost", words)
            except KeyError:
                wrong.append(f"{page.name}: waypost {told} (no such command)")
            except Exception as error:  # noqa: BLE001 - whatever the parser of options refuses
                wrong.append(f"{page.name}: waypost {told} ({getattr(error, 'message', error)})")
    assert not wrong


def test_every_operator_command_group_is_in_the_guide(pages: Any) -> None:
    section = pages["docs/operators.md"].section("## Commands")
    named = {name.removeprefix("waypost ") for name in first_cells(section)}
    known = {command.name for command in waypost.registered_commands}
    assert named == known | {group.name for group in waypost.registered_groups}


def test_every_room_is_in_the_architecture(pages: Any) -> None:
    told = pages["ARCHITECTURE.md"].text
    rooms = [
        path for path in (ROOT / "core" / "waypost").iterdir() if path.name[0] not in "_." and path.name != "py.typed"
    ]
    rooms += [
        path
        for path in (ROOT / "server" / "waypost_server").iterdir()
        if path.name[0] not in "_." and path.name != "py.typed"
    ]
    missing = [path.stem for path in rooms if f"`{path.stem}`" not in told]
    assert not missing


def test_every_test_named_in_the_architecture_exists(pages: Any) -> None:
    for file, test in re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", pages["ARCHITECTURE.md"].text):
        assert re.search(rf"def {test}\(", (ROOT / file).read_text(encoding="utf-8")), f"{file}::{test}"


def test_every_make_target_is_real(pages: Any) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z]+):", makefile, re.MULTILINE))
    for page in pages:
        assert set(re.findall(r"(?:`|^)make ([a-z]+)\b", page.text, re.MULTILINE)) <= targets, page.name


def test_the_changelog_is_of_this_release(pages: Any) -> None:
    version = tomllib.loads((ROOT / "core" / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    assert f"## [{version}]" in pages["CHANGELOG.md"].text
