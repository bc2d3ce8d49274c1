"""A database's URL: which there are, what may stand in one, and what of it may be shown."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlencode

if TYPE_CHECKING:
    from sqlalchemy import URL

SQLITE, POSTGRES = "sqlite:///", "postgresql"
_WRONG_HOST = (
    "its host or port is wrong; write postgresql://user:password@host:5432/name, with %40 for an @ in the password "
    "(several hosts: postgresql://user:password@/name?host=a:5432&host=b:5432)"
)
#: How long it may take to connect, in seconds, where the URL has no `connect_timeout`.
CONNECT = 10.0
_CHOICES = {
    "sslmode": ("disable", "allow", "prefer", "require", "verify-ca", "verify-full"),
    "sslnegotiation": ("postgres", "direct"),
    "target_session_attrs": ("any", "primary", "standby", "read-write", "read-only", "prefer-standby"),
}
#: libpq's options that asyncpg reads from a URL, but not as arguments.
_LIBPQ = frozenset({
    "dbname", "gsslib", "krbsrvname", "passfile", "service", "ssl_max_protocol_version", "ssl_min_protocol_version",
    "sslcert", "sslcrl", "sslkey", "sslmode", "sslnegotiation", "sslpassword", "sslrootcert", "target_session_attrs",
})  # fmt: skip
#: Those that SQLAlchemy reads itself.
_PLAIN = frozenset({"database", "host", "password", "port", "user"})
#: Those that may be given once for each server.
_SEVERAL = frozenset({"host", "port"})


class InvalidAddressError(ValueError):
    """This is no URL of a database; write sqlite:///path/to/file or postgresql://user:password@host/name."""

    def __init__(self, detail: str = "") -> None:
        super().__init__(detail or type(self).__doc__)


@dataclass(frozen=True, slots=True)
class PostgresAddress:
    """Where a PostgreSQL is: SQLAlchemy's URL, what asyncpg is told besides, and how long connecting may take.

    `servers` are the hosts that are tried, as they may be told.
    """

    url: URL
    arguments: dict[str, Any]
    timeout: float
    servers: str


def check(url: str) -> None:
    """Raise `InvalidAddressError` unless it is the URL of a database that we can work with."""
    if url.startswith(SQLITE):
        _check_file(url.removeprefix(SQLITE))
    else:
        postgres_address(url)


def shown(url: str) -> str:
    """A URL as it may be told: a file's full path, or a server without user and password."""
    if url.startswith(SQLITE):
        return str(Path(url.removeprefix(SQLITE)).absolute())
    return f"PostgreSQL at {postgres_address(url).servers}"


def _check_file(path: str) -> None:
    if path in ("", ":memory:") or path.startswith("file:") or path.endswith("/"):
        raise InvalidAddressError("it names no file; write sqlite:///path/to/file, since all is lost without one")
    if "?" in path:
        raise InvalidAddressError("for SQLite there are no options; leave out the ? and what follows it")
    if not path.isprintable():
        raise InvalidAddressError("the path holds characters that cannot be seen; write it again")


def postgres_address(url: str) -> PostgresAddress:
    """A PostgreSQL URL in its parts, with the options of libpq that asyncpg knows. Raises `InvalidAddressError`."""
    # The configuration is checked here, also by commands that leave the database to a node and start quicker without.
    from sqlalchemy import make_url
    from sqlalchemy.exc import ArgumentError

    scheme = url.partition("://")[0]
    if scheme not in (POSTGRES, f"{POSTGRES}+asyncpg"):
        if scheme.startswith("postgres"):
            raise InvalidAddressError("Waypost brings its own driver; begin it with postgresql://")
        raise InvalidAddressError
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        raise InvalidAddressError(_WRONG_HOST) from None
    if parsed.host:  # where a socket's folder is written %2Frun%2Fpg, as libpq has it
        parsed = parsed.set(host=unquote(parsed.host))
    options: dict[str, Any] = dict(parsed.query)
    if twice := sorted(name for name, given in options.items() if not isinstance(given, str) and name not in _SEVERAL):
        raise InvalidAddressError(f"the option {twice[0]} is given twice; leave one out")
    if "ssl" in options:
        options.setdefault("sslmode", options.pop("ssl"))
    timeout = _seconds(options.pop("connect_timeout", ""))
    if unknown := sorted(options.keys() - _LIBPQ - _PLAIN):
        raise InvalidAddressError(
            f"the option {unknown[0]} is not known; leave it out (known are connect_timeout, "
            f"{', '.join(sorted(_LIBPQ | _PLAIN))})"
        )
    for name, choices in _CHOICES.items():
        if options.get(name, choices[0]) not in choices:
            raise InvalidAddressError(f"{name} must be one of {', '.join(choices)}")
    plain = parsed.set(
        drivername="postgresql+asyncpg", query={name: value for name, value in options.items() if name in _PLAIN}
    )
    libpq = {name: value for name, value in options.items() if name in _LIBPQ}
    arguments = {"dsn": f"{POSTGRES}:?{urlencode(libpq)}"} if libpq else {}
    return PostgresAddress(plain, arguments, timeout, ",".join(_servers(plain)))


def _servers(url: URL) -> Iterator[str]:
    """The servers that asyncpg will be told, each with its port where one is given. Raises `InvalidAddressError`."""
    from sqlalchemy.exc import ArgumentError

    try:
        told = url.get_dialect()().create_connect_args(url)[1]
    except (ArgumentError, ValueError):
        raise InvalidAddressError(_WRONG_HOST) from None
    hosts, ports = (found if isinstance(found, list) else [found] for found in (told.get("host"), told.get("port")))
    for host, port in zip(hosts, ports, strict=True):
        if host is not None and not _is_host(host):
            raise InvalidAddressError(_WRONG_HOST)
        if port is not None and not 0 < port < 65_536:
            raise InvalidAddressError("its port must be a number from 1 to 65535")
        name = host or "this machine"
        yield name if port is None else f"[{name}]:{port}" if ":" in name else f"{name}:{port}"


def _is_host(host: str) -> bool:
    if host.startswith("/"):
        return True
    try:
        return "@" not in host.encode("idna").decode()
    except UnicodeError:
        return False


def _seconds(given: str) -> float:
    if not given:
        return CONNECT
    if not (given.isascii() and given.isdecimal() and 0 < int(given) <= 600):
        raise InvalidAddressError("connect_timeout must be a number of seconds from 1 to 600")
    return float(given)
