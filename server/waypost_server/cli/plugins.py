"""`waypost plugin`: write a new channel plugin, and hold one to the contract."""

from __future__ import annotations

import enum
import json
import os
import subprocess
import sys
import tempfile
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import typer

from waypost_server.cli.errors import CommandError
from waypost_server.cli.grades import remember
from waypost_server.cli.present import Json, present, say

group = typer.Typer(help="Channel plugins: write one, and hold one to the contract.", no_args_is_help=True)

#: What the kit is run with: the contract as it is, without the author's exemptions.
_CONTRACT = """from waypost.testing import ChannelContract


class TestContract(ChannelContract):
    plugin = {name!r}
"""
_KIT = ("pytest", "hypothesis")
#: A whole run takes some seconds; a plugin that hangs somewhere is given up after these.
LONGEST = 300.0
_SHOWN = 4000


class Grade(enum.StrEnum):
    """What a plugin can reach, the lowest first."""

    BRONZE = "bronze"
    SILVER = "silver"
    GOLD = "gold"


@group.command("new")
def new(
    name: Annotated[str, typer.Argument(help="The plugin's id, such as acme_sms.")],
    folder: Annotated[Path | None, typer.Option(help="Where to write it; a new folder of its name by default.")] = None,
    channel: Annotated[str | None, typer.Option(help="What partners name; the last word of the id by default.")] = None,
    *,
    as_json: Json = False,
) -> None:
    """Write a complete channel plugin, which keeps the contract and sends through its simulator as it is."""
    from waypost_server.scaffold import Blueprint, FolderInUseError, UnusableNameError, render

    try:
        blueprint = Blueprint.of(name, channel)
        target = folder if folder is not None else Path(blueprint.name)
        files = render(blueprint, target)
    except (UnusableNameError, FolderInUseError) as error:
        raise CommandError(str(error)) from None
    except OSError as error:
        raise CommandError(f"The folder cannot be written ({error.strerror}); choose another with --folder.") from None
    written = {
        "name": blueprint.name,
        "folder": str(target),
        "files": [str(file.relative_to(target)) for file in files],
    }
    present(written, _written, as_json=as_json)


def _written(written: dict[str, Any]) -> None:
    say(f"Wrote {len(written['files'])} files to {written['folder']}.")
    say(f"  pip install -e '{written['folder']}[test]'")
    say(f"  waypost plugin check {written['name']}")


@group.command("check")
def check(
    name: Annotated[str, typer.Argument(help="The plugin's id, as `waypost channels list` shows it.")],
    base_url_setting: Annotated[
        str | None, typer.Option(help="The account setting that holds the provider's address, if not base_url.")
    ] = None,
    at_least: Annotated[Grade, typer.Option(help="Exit with 1 below this grade.")] = Grade.BRONZE,
    *,
    as_json: Json = False,
) -> None:
    """Run the contract kit against an installed plugin, and print its grade, and advice for what failed.

    Nothing is sent: the plugin meets its own simulator and a server of faults, both on this machine.
    """
    missing = [package for package in _KIT if find_spec(package) is None]
    if missing:
        raise CommandError(f"The contract kit needs {' and '.join(missing)}; run `pip install 'waypost[testing]'`.")
    from waypost.plugin.spec import CHANNELS_GROUP

    if not entry_points(group=CHANNELS_GROUP, name=name):
        raise CommandError(f"No installed distribution provides the plugin {name}; install it where Waypost runs.")
    card = _card(name, base_url_setting)
    remember(name, card["grade"])
    present(card, _graded, as_json=as_json)
    order = list(Grade)
    if card["grade"] is None or order.index(Grade(card["grade"])) < order.index(at_least):
        raise typer.Exit(1)


def _card(name: str, base_url_setting: str | None) -> dict[str, Any]:
    """The plugin's card of the report that a run of the kit writes."""
    contract = _CONTRACT.format(name=name)
    if base_url_setting is not None:
        contract += f"    base_url_setting = {base_url_setting!r}\n"
    with tempfile.TemporaryDirectory(prefix="waypost-check-") as folder:
        report = Path(folder) / "report.json"
        (Path(folder) / "test_contract.py").write_text(contract, encoding="utf-8")
        output = _run(Path(folder), report)
        if not report.exists():
            raise CommandError(f"The contract kit did not run. pytest says: {output[-_SHOWN:]}")
        cards = json.loads(report.read_text(encoding="utf-8"))["plugins"]
    card = next((found for found in cards if found["plugin"] == name), None)
    if card is None:
        raise CommandError(f"The contract kit checked nothing. pytest says: {output[-_SHOWN:]}")
    return dict(card)


def _run(folder: Path, report: Path) -> str:
    # A configuration of the folder's own, so that pytest does not look for one further up.
    (folder / "pytest.ini").write_text("[pytest]\nasyncio_default_fixture_loop_scope = function\n", encoding="utf-8")
    options = ["-q", "--import-mode=importlib", "-p", "no:cacheprovider", "--waypost-report", str(report)]
    # Entry points are found on the path, which a plugin's folder may have been put on.
    path = os.pathsep.join(entry for entry in sys.path if entry)
    try:
        done = subprocess.run(  # noqa: S603 - our own interpreter and our own file
            [sys.executable, "-m", "pytest", *options, str(folder)],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": path, "PYTEST_ADDOPTS": ""},
            capture_output=True,
            text=True,
            timeout=LONGEST,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise CommandError(f"The contract kit did not end within {LONGEST:g} s; the plugin hangs somewhere.") from None
    return done.stdout + done.stderr


def _graded(card: dict[str, Any]) -> None:
    say(f"{card['plugin']}: {card['grade'] or 'no grade'} ({card['passed']} passed, {len(card['failed'])} failed)")
    for failed in card["failed"]:
        say(f"\n{failed['check']} [{failed['grade']}]: {failed['advice']}")
        for line in _problem(failed["reason"]):
            say(f"  {line}")
    if card["not_run"]:
        say(f"\n{len(card['not_run'])} checks did not run.")


def _problem(reason: str) -> list[str]:
    """What is wrong: the lines between the check's name and its advice, which are said already."""
    lines = [line.strip() for line in reason.splitlines()]
    return [line for line in lines[1:] if line and not line.startswith("→")] or lines[:1]
