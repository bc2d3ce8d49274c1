"""Catches a pure hook that asks the clock or the network."""

from __future__ import annotations

import datetime as dt
import random
import secrets
import socket
import sys
import threading
import time
import types
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, NoReturn
from unittest import mock

_CLOCKS = ("time", "time_ns", "localtime", "gmtime", "ctime")
_CHANCES: tuple[tuple[Any, str], ...] = (
    (random, "random"), (random, "randint"), (random, "choice"), (random, "getrandbits"), (secrets, "token_hex"),
    (secrets, "token_urlsafe"), (secrets, "token_bytes"), (uuid, "uuid4"), (uuid, "uuid1"),
)  # fmt: skip
_DOORS = ("connect", "connect_ex", "sendto")


class ImpureError(AssertionError):
    """A pure hook asked the clock, chance or the network; take it from `ctx` or do it in an async hook."""


class _InstanceOfReal(type):
    def __instancecheck__(cls, instance: object) -> bool:
        return isinstance(instance, dt.datetime)


@contextmanager
def watched(hook: Callable[..., Any]) -> Iterator[list[str]]:
    """While entered, the hook's package finds clock, chance and network barred; what it tried is in the list."""
    tried: list[str] = []
    owner = threading.get_ident()

    def barred(name: str, original: Callable[..., Any]) -> Callable[..., Any]:
        def trap(*arguments: Any, **options: Any) -> Any:
            if threading.get_ident() != owner:
                return original(*arguments, **options)
            return _refuse(tried, name)

        return trap

    with ExitStack() as stack:
        traps: dict[int, Any] = {}
        for module, name in [*((time, clock) for clock in _CLOCKS), *_CHANCES]:
            original = getattr(module, name)
            traps[id(original)] = barred(f"{module.__name__}.{name}", original)
            stack.enter_context(mock.patch.object(module, name, traps[id(original)]))
        for name in _DOORS:
            stack.enter_context(
                mock.patch.object(socket.socket, name, barred(f"socket.{name}", getattr(socket.socket, name)))
            )
        stack.enter_context(mock.patch.object(socket, "getaddrinfo", barred("getaddrinfo", socket.getaddrinfo)))
        traps |= _calendar(tried)
        for module, name, value in _names_of(hook.__module__.partition(".")[0], traps):
            stack.enter_context(mock.patch.object(module, name, value))
        yield tried


def _refuse(tried: list[str], name: str) -> NoReturn:
    tried.append(name)
    raise ImpureError(f"{ImpureError.__doc__} It called {name}.")


def _calendar(tried: list[str]) -> dict[int, Any]:
    """Stand-ins for `datetime` and its module, by the id of what they stand for."""

    class Datetime(dt.datetime, metaclass=_InstanceOfReal):
        @classmethod
        def now(cls, tz: dt.tzinfo | None = None) -> NoReturn:  # noqa: ARG003
            _refuse(tried, "datetime.now")

        @classmethod
        def utcnow(cls) -> NoReturn:
            _refuse(tried, "datetime.utcnow")

        @classmethod
        def today(cls) -> NoReturn:
            _refuse(tried, "datetime.today")

    module = types.ModuleType("datetime")
    vars(module).update(vars(dt))
    module.datetime = Datetime  # type: ignore[attr-defined]
    return {id(dt.datetime): Datetime, id(dt): module}


def _names_of(package: str, traps: dict[int, Any]) -> list[tuple[types.ModuleType, str, Any]]:
    """The package's own names for what is barred: `from time import time` is not caught at the source."""
    return [
        (module, name, traps[id(value)])
        for module_name, module in list(sys.modules.items())
        if module_name.partition(".")[0] == package and isinstance(module, types.ModuleType)
        for name, value in list(vars(module).items())
        if id(value) in traps
    ]
