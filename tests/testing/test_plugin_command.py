"""`waypost plugin new` and `waypost plugin check`, as an operator calls them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
from waypost_server.cli.grades import graded, remember
from waypost_server.scaffold import Blueprint, FolderInUseError, UnusableNameError, render


def waypost(*arguments: str, folder: Path, site: Path | None = None) -> subprocess.CompletedProcess[str]:
    path = {"PYTHONPATH": str(site)} if site is not None else {}
    return subprocess.run(
        [sys.executable, "-m", "waypost_server.cli", *arguments],
        cwd=folder,
        env={**os.environ, **path},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


def test_new_writes_a_plugin_and_says_what_to_do_next(tmp_path: Path) -> None:
    done = waypost("plugin", "new", "acme_sms", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "waypost plugin check acme_sms" in done.stdout
    written = {path.relative_to(tmp_path / "acme_sms").as_posix() for path in (tmp_path / "acme_sms").rglob("*.*")}
    wanted = {"pyproject.toml", "README.md", ".gitignore", ".github/workflows/test.yml", "tests/test_contract.py"}
    assert wanted | {f"acme_sms/{name}.py" for name in ("channel", "settings", "events", "simulator")} <= written
    again = waypost("plugin", "new", "acme_sms", folder=tmp_path)
    assert again.returncode == 1
    assert again.stderr == "The folder is there already and is not empty; choose another with --folder, or empty it.\n"


def test_new_refuses_a_name_that_could_not_be_imported(tmp_path: Path) -> None:
    done = waypost("plugin", "new", "Acme!", folder=tmp_path)
    assert (done.returncode, list(tmp_path.iterdir())) == (1, [])
    assert done.stderr.startswith("A plugin's name is lower-case letters")


def test_check_prints_the_grade(installed: Path, tmp_path: Path) -> None:
    done = waypost("plugin", "check", "good", "--json", "--at-least", "gold", folder=tmp_path, site=installed)
    assert done.returncode == 0, done.stderr
    card = json.loads(done.stdout)
    assert (card["plugin"], card["grade"], card["failed"], card["not_run"]) == ("good", "gold", [], [])
    assert list(tmp_path.iterdir()) == []


def test_a_deployment_lists_the_grade_of_the_version_that_was_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WAYPOST_MASTER_KEY_FILE", str(tmp_path / "data" / "master.key"))
    rows = [{"id": "messenger", "distribution": "waypost-messenger", "version": version("waypost-messenger")}]
    remember("messenger", "gold")
    assert [row["grade"] for row in graded(rows)] == [None]
    (tmp_path / "data").mkdir()
    remember("messenger", "gold")
    remember("instagram", None)
    assert [row["grade"] for row in graded(rows)] == ["gold"]
    assert [row["grade"] for row in graded([{**rows[0], "version": "0.0.1"}])] == [None]
    (tmp_path / "data" / "grades.json").write_text("no JSON")
    assert [row["grade"] for row in graded(rows)] == [None]


def test_check_says_why_a_plugin_does_not_load_and_nothing_more(installed: Path, tmp_path: Path) -> None:
    done = waypost("plugin", "check", "wrong_api", folder=tmp_path, site=installed)
    assert done.returncode == 1
    lines = [line for line in done.stdout.splitlines() if line]
    assert lines[0] == "wrong_api: no grade (0 passed, 1 failed)"
    assert lines[1].startswith("plugin_loads [bronze]: Mend what the loader says")
    assert "made for plugin API 9.0" in lines[2]
    assert lines[3].endswith("checks did not run.")


def test_check_names_a_plugin_that_is_not_installed(tmp_path: Path) -> None:
    done = waypost("plugin", "check", "not_there", folder=tmp_path)
    assert done.returncode == 1
    expected = "No installed distribution provides the plugin not_there; install it where Waypost runs.\n"
    assert done.stderr == expected


@pytest.mark.parametrize(
    "name", ["", "1sms", "acme sms", "acme__sms", "_acme", "class", "json", "waypost_acme", "a" * 41]
)
def test_unusable_names(name: str) -> None:
    with pytest.raises(UnusableNameError):
        Blueprint.of(name)


def test_a_hyphen_becomes_an_underscore_and_the_last_word_the_channel() -> None:
    words = Blueprint.of("acme-push-sms").words
    assert words["__NAME__"] == "acme_push_sms"
    assert words["__CLASS__"] == "AcmePushSms"
    assert words["__TITLE__"] == "Acme Push SMS"
    assert words["__DIST__"] == "acme-push-sms"
    assert words["__CHANNEL__"] == "SMS"
    assert Blueprint.of("acme", "whatsapp").words["__CHANNEL__"] == "WHATSAPP"


def test_no_placeholder_stays_behind(tmp_path: Path) -> None:
    files = render(Blueprint.of("zulu"), tmp_path / "new")
    for file in files:
        text = file.read_text(encoding="utf-8") + file.as_posix()
        assert not any(placeholder in text for placeholder in Blueprint.of("zulu").words), file
        assert not file.name.endswith(".in")


def test_a_folder_in_use_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(FolderInUseError):
        render(Blueprint.of("acme"), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
