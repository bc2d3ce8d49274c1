"""For every test: nothing but loopback may be connected to."""

from __future__ import annotations

import ipaddress
import socket
from typing import Any

import pytest


class OutsideLoopbackError(AssertionError):
    """A test tried to reach an address outside loopback; play the provider with its simulator or a cassette."""


def _is_loopback(address: Any) -> bool:
    if not isinstance(address, tuple):
        return True
    host = address[0]
    if host in ("", "localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@pytest.fixture(autouse=True)
def _loopback_only(monkeypatch: pytest.MonkeyPatch) -> None:
    def guarded(name: str) -> Any:
        original = getattr(socket.socket, name)

        def connect(self: socket.socket, address: Any) -> Any:
            if self.family in (socket.AF_INET, socket.AF_INET6) and not _is_loopback(address):
                raise OutsideLoopbackError(f"{OutsideLoopbackError.__doc__} Address: {address!r}")
            return original(self, address)

        return connect

    for name in ("connect", "connect_ex"):
        monkeypatch.setattr(socket.socket, name, guarded(name))
