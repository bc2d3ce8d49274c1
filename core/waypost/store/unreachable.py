"""Why a PostgreSQL cannot be reached, in words: what Python and asyncpg raise while they connect, or lose it."""

from __future__ import annotations

import socket
import ssl

import asyncpg
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

_KINDS: tuple[tuple[type[BaseException] | tuple[type[BaseException], ...], str], ...] = (
    (socket.gaierror, "the name of its host is not known"),
    (ConnectionRefusedError, "nobody listens at that host and port"),
    (ConnectionError, "it broke the connection off; does it speak TLS as sslmode wants it?"),
    (ssl.SSLError, "TLS with it failed; look at sslmode and the certificates"),
    (asyncpg.CannotConnectNowError, "it is starting or stopping"),
    (asyncpg.AdminShutdownError, "it ended the connection, as when it stops"),
    (asyncpg.CrashShutdownError, "a process of its crashed, and it begins anew"),
    (asyncpg.TooManyConnectionsError, "all its connections are taken; raise max_connections"),
    ((asyncpg.ConnectionDoesNotExistError, asyncpg.InternalClientError), "the connection to it was broken off"),
    (PoolTimeoutError, "all connections to it are busy"),
    (TimeoutError, "it does not answer in time"),
    (FileNotFoundError, "its socket, or a file that the URL names, is not there"),
    (PermissionError, "its socket, or a file that the URL names, may not be read by this user"),
)


def reason(error: BaseException | None) -> str:
    """The end of a sentence that begins with the server; it holds nothing of the URL but names of files."""
    for kind, told in _KINDS:
        if isinstance(error, kind):
            return told
    if isinstance(error, asyncpg.ClientConfigurationError):
        return str(error).partition("\n")[0]
    strerror = error.strerror if isinstance(error, OSError) else None
    return strerror or type(error).__name__
