"""What is given and what is answered: bytes that are no text, streams that hold little, and nothing lost in silence."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Run = Callable[..., Any]


@pytest.fixture
def acme(waypost: Run, monkeypatch: pytest.MonkeyPatch) -> Run:
    """An organization whose name is not ASCII, and an app."""
    monkeypatch.setenv("WAYPOST_CHANNELS", "sms_twilio")
    for command in ("db upgrade", "orgs create Zoë --currency SGD", "apps create shop --org Zoë"):
        assert waypost(*command.split()).code == 0
    return waypost


def process(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own, with streams that are its own."""
    command = [sys.executable, "-m", "waypost_server.cli", *arguments]
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | options
    return subprocess.run(command, text=True, check=False, **streams)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_an_answer_that_cannot_be_written_is_said(acme: Run, unbuffered: str) -> None:
    environment = os.environ | {"PYTHONUNBUFFERED": unbuffered}
    for command in ("keys create --app shop", "orgs list", "--help"):
        with Path("/dev/full").open("w") as full:
            ran = process(*command.split(), stdout=full, env=environment)
        assert ran.returncode == 1, command
        assert ran.stderr.count("\n") == 1
        assert "No space" in ran.stderr or "no space" in ran.stderr
    assert len(acme("keys", "list", "--json").json) == 1, "it was made, as the sentence says"


def test_a_closed_output_is_said_before_anything_is_done(acme: Run) -> None:
    script = '"$0" -m waypost_server.cli keys create --app shop >&-'
    command = ["sh", "-c", script, sys.executable]
    ran = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False)
    assert (ran.returncode, "Standard output is closed" in ran.stderr) == (1, True)
    assert acme("keys", "list", "--json").json == []


def test_an_answer_fits_a_narrow_encoding(acme: Run) -> None:
    environment = os.environ | {"PYTHONIOENCODING": "ascii"}
    listed = process("orgs", "list", env=environment)
    assert (listed.returncode, r"Zo\xeb" in listed.stdout, listed.stderr) == (0, True, "")
    assert json.loads(process("orgs", "list", "--json", env=environment).stdout)[0]["name"] == "Zoë"
    made = process("keys", "create", "--app", "shop", env=environment)
    assert (made.returncode, "ak_live_" in made.stdout) == (0, True)


def test_the_log_of_a_command_is_not_in_its_answer(acme: Run) -> None:
    """The first secret makes a master key, which is logged."""
    settings = ("--set", f"account_sid=AC{32 * '0'}", "--set", "auth_token=t")
    made = process("gateways", "create", "one", "--plugin", "sms_twilio", *settings, "--json")
    assert json.loads(made.stdout)["name"] == "one"
    told = json.loads(made.stderr)
    assert (told["event"], told["path"]) == ("vault.key_created", os.environ["WAYPOST_MASTER_KEY_FILE"])
    assert "auth_token" in acme("gateways", "show", "one", "--json").json["settings"], "it opens again"


@pytest.mark.parametrize("command", ["gateways list", "provider-apps list", "gateways create x --plugin nobody"])
def test_a_command_that_seals_nothing_makes_no_master_key(acme: Run, deployment: Path, command: str) -> None:
    acme(*command.split())
    assert not (deployment / "master.key").exists()


@pytest.mark.parametrize(
    ("command", "code", "says"),
    [
        ("orgs create Zo\udceb --currency SGD", 1, "not UTF-8 text"),
        ('gateways create x --plugin sms_twilio --set auth_token:="\\ud800"', 1, "not UTF-8 text"),
        ("Zo\udceb", 2, "No such command"),
        ("keys create --app shop --expires 9999-12-31T23:59:59-14:00", 1, "years 1 to 9999"),
        ("keys create --app shop --expires 0001-01-01T00:00:00+14:00", 1, "years 1 to 9999"),
        ("keys create --app shop --expires ٣d", 1, "expires"),
        ("credit top-up Zoë 1_000", 1, "decimal number"),
        ("credit top-up Zoë ٣", 1, "decimal number"),
        (f"gateways create x --plugin sms_twilio --set a:={'[' * 40}{']' * 40}", 2, "nested too deeply"),
        (f"gateways create x --plugin sms_twilio --set a:={'[' * 9000}{']' * 9000}", 2, "nested too deeply"),
        (f"gateways create x --plugin sms_twilio --settings {'[' * 9000}{']' * 9000}", 2, "nested too deeply"),
    ],
)
def test_what_is_given_wrongly_is_one_sentence(acme: Run, command: str, code: int, says: str) -> None:
    ran = acme(*command.split())
    assert (ran.code, ran.err.count("\n")) == (code, 1)
    assert says in ran.err
    assert "unexpected" not in ran.err


@pytest.mark.parametrize("content", [None, b"\xe9"], ids=["a NUL in its path", "not UTF-8"])
def test_a_file_of_a_secret_that_cannot_be_read_is_a_warning(
    acme: Run, deployment: Path, content: bytes | None
) -> None:
    path = deployment / "secret"
    path.write_bytes(content or b"")
    given = {"account_sid": "AC" + 32 * "0", "auth_token": {"$file": str(path) if content else "a\0b"}}
    made = acme("gateways", "create", "one", "--plugin", "sms_twilio", "--settings", json.dumps(given), "--json")
    assert (made.code, "cannot be read as UTF-8 text" in made.json["warnings"][0]) == (0, True)
    told = acme("gateways", "create", "two", "--plugin", "sms_twilio", "--settings", json.dumps(given))
    assert (told.err.startswith("Warning: "), "cannot be read as UTF-8 text" in told.err) == (True, True)
    assert "UTF-8" not in told.out
    doctor = acme("doctor")
    assert (doctor.code, "cannot be read as UTF-8 text" in doctor.out) == (1, True)


def test_settings_that_are_not_text_are_told(acme: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    command = [sys.executable, "-m", "waypost_server.cli", "gateways", "update", "x", "--settings", "-"]
    monkeypatch.setenv("PYTHONIOENCODING", "utf-8")
    ran = subprocess.run(command, input=b"\xe9\xff", capture_output=True, check=False)
    assert (ran.returncode, b"not UTF-8 text" in ran.stderr) == (2, True)


def test_what_may_not_be_meant_is_warned_of(acme: Run, deployment: Path) -> None:
    settings = ("--set", f"account_sid=AC{32 * '0'}", "--set", "auth_token=t", "--sender", "+15005550006")
    assert acme("gateways", "create", "one", "--plugin", "sms_twilio", *settings).code == 0
    rate = ("rates", "add", "--gateway", "one", "--price", "1", "--currency", "SGD")
    assert acme(*rate, "--sku", "sms", "--prefix", "65").err == ""
    told = acme(*rate, "--sku", "smss", "--prefix", "sg")
    assert (told.code, told.err.count("Warning: "), "Warning" in told.out) == (0, 2, False), told.err
    assert "metered in smss, only in mms, sms" in told.err
    assert "begins with sg" in told.err
    (deployment / "card.csv").write_text("sku,prefix,price\nsms,0065,1\nsms,44,1\nmms,999,1\n")
    told = acme("rates", "import", "card.csv", "--gateway", "one", "--currency", "SGD", "--json")
    assert told.err == "Warning: No destination of one begins with 0065, 999; its rates apply to nothing.\n"
    assert told.json["imported"] == 3
    assert acme("routes", "set", "--app", "shop", "--gateway", "one").err == ""
    assert acme("gateways", "disable", "one").code == 0
    told = acme("routes", "set", "--app", "shop", "--gateway", "one")
    assert (told.code, "Warning: one is disabled" in told.err) == (0, True)
    assert acme("gateways", "enable", "one", "--json").json["status"] == "active"  # not "Did you mean 'disable'?"
