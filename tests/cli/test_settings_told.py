"""Settings that cannot be meant: one sentence that names the setting and says what to write, and never a password."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from waypost.vault import new_key

Run = Callable[..., Any]
CANARY = "canary"
PG = f"postgresql://user:{CANARY}@"


def _is_told(ran: Any, says: str) -> None:
    assert ran.code == 1
    assert says in ran.err
    assert ran.err.count("\n") == 1
    assert ran.err.endswith(".\n")
    assert not ran.err.endswith("..\n")
    for unwanted in ("unexpected", "Traceback", "Value error", CANARY):
        assert unwanted not in ran.err


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("DATABASE_URL", "", "write sqlite:///path/to/file or postgresql://"),
        ("DATABASE_URL", "waypost.db", "write sqlite:///path/to/file or postgresql://"),
        ("DATABASE_URL", "sqlite://waypost.db", "write sqlite:///path/to/file"),
        ("DATABASE_URL", "sqlite:///", "names no file"),
        ("DATABASE_URL", "sqlite:///:memory:", "names no file"),
        ("DATABASE_URL", "sqlite:///file:x", "names no file"),
        ("DATABASE_URL", "sqlite:///data/", "names no file"),
        ("DATABASE_URL", "sqlite:///x.db?mode=ro", "there are no options"),
        ("DATABASE_URL", f"postgres://user:{CANARY}@host/x", "begin it with postgresql://"),
        ("DATABASE_URL", f"postgresql+psycopg2://user:{CANARY}@host/x", "begin it with postgresql://"),
        ("DATABASE_URL", f"{PG}host:port/x", "its host or port is wrong"),
        ("DATABASE_URL", f"{PG}host:70000/x", "from 1 to 65535"),
        ("DATABASE_URL", f"{PG}[::1/x", "its host or port is wrong"),
        ("DATABASE_URL", f"{PG}{'a' * 70}.example/x", "its host or port is wrong"),
        ("DATABASE_URL", f"postgresql://user:{CANARY}@2@host/x", "%40"),
        ("DATABASE_URL", f"{PG}a:1,b:2/x", "?host=a:5432&host=b:5432"),
        ("DATABASE_URL", f"{PG}host/x?channel_binding=require", "channel_binding is not known"),
        ("DATABASE_URL", f"{PG}host/x?sslmode=on", "verify-full"),
        ("DATABASE_URL", f"{PG}host/x?target_session_attrs=on", "read-write"),
        ("DATABASE_URL", f"{PG}host/x?connect_timeout=soon", "connect_timeout must be"),
        ("MASTER_KEYS", "éé", "base64 of 32 bytes"),
        ("POLL", "1e-9", "WAYPOST_POLL"),
        ("POLL", "nan", "WAYPOST_POLL"),
        ("PUBLIC_URL", "messages.example.com", "such as https://messages.example.com"),
        ("PUBLIC_URL", "ftp://messages.example.com", "WAYPOST_PUBLIC_URL"),
        ("PUBLIC_URL", "https://", "WAYPOST_PUBLIC_URL"),
        ("PUBLIC_URL", "https://a.example?x=1", "WAYPOST_PUBLIC_URL"),
        ("PUBLIC_URL", "https://a.example/#x", "WAYPOST_PUBLIC_URL"),
        ("PUBLIC_URL", "https://a.example:port", "WAYPOST_PUBLIC_URL"),
        ("PUBLIC_URL", "https://a .example", "WAYPOST_PUBLIC_URL"),
        ("PUBLIC_URL", "https://ä.example", "WAYPOST_PUBLIC_URL"),
        ("PUBLIC_URL", f"https://user:{CANARY}@a.example", "WAYPOST_PUBLIC_URL"),
        ("CHANNEL_DISTRIBUTIONS", "sms_acme=acme", 'such as {"sms_acme": "acme-waypost"}'),
        ("CHANNEL_DISTRIBUTIONS", "[1]", 'such as {"sms_acme": "acme-waypost"}'),
        ("CHANNEL_DISTRIBUTIONS", "[" * 100_000, 'such as {"sms_acme": "acme-waypost"}'),
        ("CHANNEL_DISTRIBUTIONS", '{"sms_acme": 1}', "WAYPOST_CHANNEL_DISTRIBUTIONS"),
        ("PORT", "", "WAYPOST_PORT"),
        ("HOST", "a" * 70, "not known here"),
    ],
)
def test_a_setting_that_cannot_be_meant(
    waypost: Run, deployment: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str, says: str
) -> None:
    monkeypatch.setenv(f"WAYPOST_{name}", value)
    monkeypatch.setenv("WAYPOST_LOG_LEVEL", "error")
    _is_told(waypost("serve", "--port", "0") if name != "PORT" else waypost("serve"), says)


@pytest.mark.parametrize(
    ("name", "value"), [("DATABASE_URL", f"{PG}a:1,b:2/x"), ("MASTER_KEYS", CANARY), ("CHANNEL_DISTRIBUTIONS", CANARY)]
)
def test_a_traceback_that_was_asked_for_shows_no_setting(
    waypost: Run, deployment: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv("WAYPOST_DEBUG", "1")
    monkeypatch.setenv(f"WAYPOST_{name}", value)
    ran = waypost("serve", "--port", "0")
    assert ran.code == 1
    assert "Traceback" in ran.err
    assert CANARY not in ran.err


@pytest.mark.parametrize("spoil", ["empty", "folder", "no key", "not ASCII"])
def test_a_key_file_that_is_none(waypost: Run, deployment: Path, spoil: str) -> None:
    assert waypost("db", "upgrade").code == 0
    path = deployment / "master.key"
    if spoil == "folder":
        path.mkdir()
    else:
        path.write_bytes({"no key": CANARY.encode(), "not ASCII": b"\xe9", "empty": b""}[spoil])
    _is_told(waypost("orgs", "list"), "master.key")
    assert path.is_dir() or path.stat().st_size < 10, "it is left as it is"


def test_a_key_file_below_a_file(waypost: Run, deployment: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert waypost("db", "upgrade").code == 0
    (deployment / "file").touch()
    monkeypatch.setenv("WAYPOST_MASTER_KEY_FILE", str(deployment / "file" / "master.key"))
    _is_told(waypost("gateways", "list"), "WAYPOST_MASTER_KEY_FILE")


def test_a_database_below_a_file(waypost: Run, deployment: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (deployment / "file").touch()
    monkeypatch.setenv("WAYPOST_DATABASE_URL", f"sqlite:///{deployment}/file/waypost.db")
    for command in ("serve", "db upgrade", "orgs list", "doctor"):
        _is_told(waypost(*command.split()), str(deployment / "file"))


def test_a_name_that_is_no_setting(waypost: Run, deployment: Path) -> None:
    (deployment / "waypost.toml").write_text(f'prot = "{CANARY}"\n')
    _is_told(waypost("orgs", "list"), "waypost.toml holds prot, which is no setting")


def test_a_configuration_file_that_is_not_utf_8(waypost: Run, deployment: Path) -> None:
    (deployment / "waypost.toml").write_bytes(b'host = "\xe9"\n')
    _is_told(waypost("orgs", "list"), "waypost.toml is not UTF-8")


@pytest.mark.parametrize(
    ("rest", "says"),
    [
        ("127.0.0.1:1/x", "PostgreSQL at 127.0.0.1:1: nobody listens"),
        ("/x?host=/nowhere", "PostgreSQL at /nowhere: its socket"),
        ("127.0.0.1:1/x?sslmode=verify-full&sslrootcert=/nowhere.pem", "a file that the URL names, is not there"),
        ("127.0.0.1:1/x?ssl_min_protocol_version=TLSv9", "No such TLS version"),
    ],
)
def test_a_server_that_cannot_be_reached(
    waypost: Run, deployment: Path, monkeypatch: pytest.MonkeyPatch, rest: str, says: str
) -> None:
    monkeypatch.setenv("WAYPOST_DATABASE_URL", PG + rest)
    for command in ("serve", "orgs list", "doctor"):
        _is_told(waypost(*command.split()), says)


def test_a_host_that_nobody_knows(waypost: Run, deployment: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import socket

    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    monkeypatch.setenv("WAYPOST_DATABASE_URL", f"{PG}db.example/x")
    _is_told(waypost("orgs", "list"), "PostgreSQL at db.example: the name of its host is not known")


def test_no_new_key_is_made_beside_secrets_that_another_one_sealed(
    waypost: Run, deployment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WAYPOST_CHANNELS", "sms_twilio")
    assert waypost("db", "upgrade").code == 0
    assert waypost("orgs", "list").code == 0
    assert not (deployment / "master.key").exists(), "what needs no key makes none"
    settings = ("--set", f"account_sid=AC{32 * '0'}", "--set", "auth_token=t")
    assert waypost("gateways", "create", "one", "--plugin", "sms_twilio", *settings).code == 0
    elsewhere = deployment / "elsewhere.key"
    monkeypatch.setenv("WAYPOST_MASTER_KEY_FILE", str(elsewhere))
    for command in ("serve", "gateways list"):
        _is_told(waypost(*command.split()), f"there is no master key in {elsewhere}")
    assert not elsewhere.exists()
    doctor = waypost("doctor")
    assert (doctor.code, "Gateway one cannot be used" in doctor.out) == (1, True)
    monkeypatch.setenv("WAYPOST_MASTER_KEYS", new_key())
    anew = ("--set", "auth_token=n", "--set", "other_auth_tokens:=null", "--set", "api_key_secret:=null")
    assert waypost("gateways", "update", "one", *anew).code == 0
    assert waypost("doctor").code == 0
