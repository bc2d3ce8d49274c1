"""Databases' URLs: what libpq's options become, and what of a URL is shown."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import parse_qs, quote, urlsplit

import pytest
from waypost.store.address import CONNECT, InvalidAddressError, check, postgres_address, shown
from waypost.store.postgres import PostgresDatabase


def test_options_of_libpq_are_asyncpgs_to_read() -> None:
    found = postgres_address("postgresql://u:p%40@h:1/x?sslmode=require&sslrootcert=/a%20b&connect_timeout=3")
    assert (found.url.drivername, found.url.password, dict(found.url.query)) == ("postgresql+asyncpg", "p@", {})
    assert parse_qs(found.arguments["dsn"].partition("?")[2]) == {"sslmode": ["require"], "sslrootcert": ["/a b"]}
    assert found.timeout == 3
    plain = postgres_address("postgresql+asyncpg:///x?host=a:1&host=b:2")
    assert (plain.url.query["host"], plain.arguments, plain.timeout) == (("a:1", "b:2"), {}, CONNECT)
    assert parse_qs(postgres_address("postgresql://h/x?ssl=require").arguments["dsn"]) == {
        "postgresql:?sslmode": ["require"]
    }


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("postgresql://u:canary@h:1/x", "PostgreSQL at h:1"),
        ("postgresql://u:canary@/x?host=/run/pg", "PostgreSQL at /run/pg"),
        ("postgresql://u:canary@/x?host=a:1&host=b:2", "PostgreSQL at a:1,b:2"),
        ("postgresql:///x", "PostgreSQL at this machine"),
        ("postgresql:///x?host=/run/pg&port=6", "PostgreSQL at /run/pg:6"),
        ("postgresql://u:canary@%2Frun%2Fpg:6/x", "PostgreSQL at /run/pg:6"),
        ("postgresql://u:canary@[::1]:6/x", "PostgreSQL at [::1]:6"),
        ("postgresql://u:canary@h/x?host=elsewhere", "PostgreSQL at elsewhere"),
        (f"postgresql://%2Frun%2F{'a' * 70}/x", f"PostgreSQL at /run/{'a' * 70}"),
        ("sqlite:////data/x.db", "/data/x.db"),
    ],
)
def test_what_is_shown_holds_no_password(url: str, told: str) -> None:
    check(url)
    assert shown(url) == told


def test_a_relative_file_is_shown_in_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert shown("sqlite:///x.db") == str(tmp_path / "x.db")


@pytest.mark.parametrize("url", ["postgresql://u:canary@h:p/x", "postgresql://u:canary@h/x?a=canary", "canary://x"])
def test_a_refusal_does_not_repeat_what_may_be_a_password(url: str) -> None:
    with pytest.raises(InvalidAddressError) as caught:
        check(url)
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize("option", ["connect_timeout=1", "user=u", "passfile=/p", "sslmode=require"])
def test_an_option_is_given_once(option: str) -> None:
    with pytest.raises(InvalidAddressError, match="is given twice"):
        check(f"postgresql://h/x?{option}&{option}")


@pytest.mark.parametrize(
    "options", ["port=p", "port=1&port=2", "port=70000", "host=a&host=b&port=1", f"host={'a' * 70}", "host=a@b"]
)
def test_hosts_and_ports_among_the_options_are_looked_at_too(options: str) -> None:
    with pytest.raises(InvalidAddressError, match="port"):
        check(f"postgresql://h/x?{options}")


@pytest.mark.postgres
@pytest.mark.parametrize("options", ["sslmode=prefer", "ssl=disable&connect_timeout=5", "target_session_attrs=any"])
async def test_a_server_is_reached_with_options(postgres_url: str, options: str) -> None:
    database = await PostgresDatabase.open(f"{postgres_url}&{options}")
    await database.close()


@pytest.mark.postgres
async def test_a_socket_may_stand_where_a_host_does(postgres_url: str) -> None:
    given = urlsplit(postgres_url)
    folder = parse_qs(given.query)["host"][0]
    database = await PostgresDatabase.open(f"postgresql://postgres@{quote(folder, safe='')}{given.path}")
    await database.close()
