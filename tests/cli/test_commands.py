"""The command line without a node: everything a deployment needs can be made, and mistakes are one sentence."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pysqlite3 import dbapi2
from waypost.vault import new_key

Run = Callable[..., Any]
TWILIO = {"account_sid": "AC" + 32 * "0", "auth_token": "s3cret-canary"}


@pytest.fixture
def prepared(waypost: Run) -> Run:
    assert waypost("db", "upgrade").code == 0
    return waypost


def test_the_schema_is_made_and_looked_at(waypost: Run, deployment: Path) -> None:
    assert waypost("db", "status").code == 1
    assert not (deployment / "data").exists()
    assert waypost("db", "upgrade", "--json").json["before"] is None
    assert waypost("db", "status", "--json").json["current"] is True
    assert "already" in waypost("db", "upgrade").out


def test_a_database_that_is_none_or_of_a_newer_release_is_told(prepared: Run, deployment: Path) -> None:
    file = next(deployment.rglob("*.db"))
    conn = dbapi2.connect(file)
    with conn:
        conn.execute("UPDATE alembic_version SET version_num = 'next'")
    conn.close()
    assert prepared("orgs", "list").code == 0
    told = prepared("db", "upgrade")
    assert (told.code, told.err.count("\n")) == (1, 1)
    assert "newer release" in told.err
    file.write_bytes(b"no database" * 1000)
    for suffix in ("-wal", "-shm"):
        file.with_name(file.name + suffix).unlink(missing_ok=True)
    for command in ("orgs list", "db status", "serve", "doctor"):
        told = prepared(*command.split())
        assert (told.code, told.err.count("\n")) == (1, 1), command
        assert "file is not a database" in told.err


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("WAYPOST_PORT", "70000", "WAYPOST_PORT"),
        ("WAYPOST_PORT", "-1", "WAYPOST_PORT"),
        ("WAYPOST_WRAPPERS", "ghost", "take it out of `wrappers`"),
        ("WAYPOST_DATABASE_URL", "sqlite+pysqlite:///x.db", "write sqlite:///"),
    ],
)
def test_a_setting_that_cannot_be_meant_is_told(
    prepared: Run, monkeypatch: pytest.MonkeyPatch, name: str, value: str, told: str
) -> None:
    monkeypatch.setenv(name, value)
    ran = prepared("serve")
    assert (ran.code, ran.err.count("\n")) == (1, 1)
    assert told in ran.err


def test_everything_is_made_and_listed(prepared: Run, monkeypatch: pytest.MonkeyPatch, deployment: Path) -> None:
    monkeypatch.setenv("WAYPOST_CHANNELS", "sms_twilio")
    monkeypatch.setenv("WAYPOST_PUBLIC_URL", "https://gateway.test/")
    monkeypatch.setenv("WAYPOST_MASTER_KEYS", new_key())
    (deployment / "rates.csv").write_text("sku,prefix,price\nsms,,0.05\nsms,65,0.045\n")
    made: dict[str, Any] = {}
    for command in (
        "orgs create Acme --currency SGD",
        "apps create shop --org Acme",
        "keys create --app shop --expires 30d",
        "credit top-up Acme 100",
        "credit adjust Acme -0.5 --reason test",
        "gateways create one --plugin sms_twilio --sender +15005550006 --settings @settings.json",
        "rates import rates.csv --gateway one --currency SGD",
        "rates add --gateway one --sku mms --price 0.1 --currency SGD",
        "routes set --app shop --gateway one",
    ):
        (deployment / "settings.json").write_text(json.dumps(TWILIO))
        ran = prepared(*command.split(), "--json")
        assert (ran.code, ran.err) == (0, ""), command
        made[" ".join(command.split()[:2])] = ran.json
    assert made["credit adjust"]["available"] == "99.5"
    assert made["keys create"]["secret"].startswith("ak_live_")
    gateway = made["gateways create"]
    assert gateway["webhook_urls"] == [f"https://gateway.test/webhooks/sms_twilio/{gateway['id']}"]
    for group, rows in {"orgs": 1, "apps": 1, "keys": 1, "credit": 1, "gateways": 1, "rates": 3, "routes": 1}.items():
        assert len(prepared(group, "list", "--json").json) == rows
        told = prepared(group, "list")
        assert told.code == 0
        assert "s3cret-canary" not in told.out
        assert made["keys create"]["secret"] not in told.out
    assert prepared("doctor").code == 0
    assert prepared("messages", "list").out == "There is no such message.\n"
    assert prepared("messages", "cancel", "--app", "shop", "--json").json == {"canceled": 0, "left": 0}
    skus = prepared("gateways", "skus", "one", "--to", "+6591234567", "--json").json
    assert {"sms", "mms"} == {row["sku"] for row in skus}
    refused = prepared("gateways", "connect", "one")
    assert (refused.code, "sms_twilio cannot connect webhooks" in refused.err) == (1, True)
    listed = prepared("channels", "list", "--json").json
    states = {row["id"]: row["state"] for row in listed}
    assert states["sms_twilio"] == "loaded"
    assert {row["id"]: row["api"] for row in listed if row["api"]} == {"sms_twilio": "1.0"}
    assert states["whatsapp_twilio"] == "disabled"


@pytest.mark.parametrize(
    ("command", "code", "says"),
    [
        ("orgs create Acme --currency sgd", 1, "currency: write three upper-case letters"),
        ("orgs suspend Nobody", 1, "There is no organization 'Nobody'"),
        ("keys create --app nothing", 1, "There is no app 'nothing'"),
        ("keys create --app nothing --mode both", 1, "mode"),
        ("credit top-up Nobody 5", 1, "Nobody"),
        ("gateways create x --plugin sms_twilio", 1, "sms_twilio is disabled"),
        ("gateways connect x", 1, "There is no gateway 'x'"),
        ("gateways create x --plugin sms_twilio --settings [1]", 2, "JSON object"),
        ("gateways create x --plugin sms_twilio --settings @nowhere", 2, "nowhere cannot be read"),
        ("gateways create x --plugin sms_twilio --set token", 2, "NAME=TEXT"),
        ("rates import nowhere.csv --gateway one", 1, "nowhere.csv cannot be read"),
        ("messages show msg_0", 1, "There is no message 'msg_0'"),
        ("messages list --limit 0", 1, "limit"),
        ("messages cancel", 1, "messages: write ids, or narrow down which are meant, or ask for all"),
        ("messages cancel msg_0", 1, "There is no message 'msg_0'"),
        ("messages cancel msg_0 --all", 1, "messages: write ids, or"),
        ("serve --role worker", 1, "SQLite serves one process"),
        ("serve --role none", 2, "role"),
        ("serve --host 300.1.1.1", 1, "not known here"),
        ("orgs create", 2, "Missing argument"),
        ("orgs create Acme --colour red", 2, "No such option"),
        ("nonsense", 2, "No such command"),
    ],
)
def test_a_mistake_is_one_sentence(prepared: Run, command: str, code: int, says: str) -> None:
    ran = prepared(*command.split())
    assert ran.code == code
    assert says in ran.err
    assert ran.err.count("\n") == 1
    assert "Traceback" not in ran.err
    assert ran.out == ""


@pytest.mark.parametrize(
    ("variable", "value", "says"),
    [
        ("WAYPOST_PORT", "many", "WAYPOST_PORT"),
        ("WAYPOST_DATABASE_URL", "mysql://here", "sqlite:///"),
        ("WAYPOST_DATABASE_URL", "sqlite:////proc/nowhere/waypost.db", "no database at"),
        ("WAYPOST_DATABASE_URL", "postgresql://nobody:canary@127.0.0.1:1/none", "database cannot be used"),
        ("WAYPOST_MASTER_KEYS", "abc", "base64 of 32 bytes"),
    ],
)
def test_a_wrong_configuration_is_one_sentence(
    prepared: Run, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, says: str
) -> None:
    monkeypatch.setenv(variable, value)
    ran = prepared("orgs", "list")
    assert ran.code == 1
    assert says in ran.err
    assert ran.err.count("\n") == 1
    assert "canary" not in ran.err


def test_a_file_that_is_not_toml_is_one_sentence(prepared: Run, deployment: Path) -> None:
    (deployment / "waypost.toml").write_text("port = \n")
    ran = prepared("orgs", "list")
    assert ran.code == 1
    assert "waypost.toml is not TOML" in ran.err


def test_what_nobody_expected_is_one_sentence_too(prepared: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(*_: object) -> None:
        raise ZeroDivisionError("canary")

    monkeypatch.setattr("waypost_server.cli.reach._directly", broken)
    ran = prepared("orgs", "list")
    assert ran.code == 1
    assert "ZeroDivisionError" in ran.err
    assert "canary" not in ran.err
    monkeypatch.setenv("WAYPOST_DEBUG", "1")
    assert "Traceback" in prepared("orgs", "list").err


def test_a_database_of_another_release_is_refused(prepared: Run, deployment: Path) -> None:
    with dbapi2.connect(deployment / "data" / "waypost.db") as connection:
        connection.execute("UPDATE alembic_version SET version_num = 'next'")
        connection.execute("DELETE FROM supported_schema")
    connection.close()
    for command in (("orgs", "list"), ("serve", "--port", "0")):
        ran = prepared(*command)
        assert ran.code == 1
        assert "install that release" in ran.err
    assert prepared("doctor").code == 1


def test_the_vault_key_fits_the_vault(prepared: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WAYPOST_MASTER_KEYS", prepared("vault", "new-key").out.strip())
    assert prepared("orgs", "list").code == 0


@pytest.mark.parametrize(
    ("start", "unneeded"),
    [
        ("import waypost_server.cli.commands", ("aiohttp", "sqlalchemy", "waypost.node", "pydantic")),
        # A node is there to ask: all that a command does is read the configuration.
        (
            "from waypost_server.cli.reach import load_config; load_config(database_url='sqlite:///waypost.db')",
            ("aiohttp", "sqlalchemy", "waypost.node"),
        ),
    ],
)
def test_starting_imports_neither_the_node_nor_aiohttp(start: str, unneeded: tuple[str, ...]) -> None:
    code = f"import sys; {start}; print([name for name in {unneeded!r} if name in sys.modules])"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"
