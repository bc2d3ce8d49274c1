"""A provider that only misbehaves: one fault, every request the same, each of them counted.

It runs in threads of its own, so that a plugin that holds the event loop up cannot hold it up too.
"""

from __future__ import annotations

import contextlib
import json
import socket
import socketserver
import struct
import threading
from base64 import b64decode
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, Self
from urllib.parse import unquote_plus

Mode = Literal["answer", "hang", "reset", "truncate", "refuse"]

#: A hanging answer is given up when the server closes, and after this many seconds at the latest.
LONGEST_HANG = 30.0
#: Lingering for zero seconds turns a close into a reset.
_RESET = struct.pack("ii", 1, 0)


@dataclass(frozen=True, slots=True)
class Fault:
    """What the server does. `echo` repeats the request, its secrets too, wherever providers put an error's text."""

    mode: Mode = "answer"
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    echo: bool = False
    delay: float = 0.0


@dataclass(frozen=True, slots=True)
class SeenRequest:
    """A request as it arrived; header names are lower-case."""

    line: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def text(self) -> str:
        """All that it holds, as plainly as a provider might repeat it."""
        body = self.body.decode("utf-8", "replace")
        return "\n".join((self.line, *self.headers.values(), self.credentials, body, unquote_plus(body)))

    @property
    def credentials(self) -> str:
        """What the `Authorization` header proves with: a Basic password, or the token."""
        scheme, _, value = self.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "basic":
            return value
        with contextlib.suppress(ValueError):
            return b64decode(value).decode("utf-8", "replace").partition(":")[2]
        return ""


class FaultServer:
    """Listens on loopback while it is entered; `requests` are those that arrived whole."""

    def __init__(self, fault: Fault) -> None:
        self.fault = fault
        self.requests: list[SeenRequest] = []
        self.arrived = threading.Event()
        self.closing = threading.Event()
        self._server: _Server | None = None
        self._unlistened: socket.socket | None = None
        self.url = ""

    def __enter__(self) -> Self:
        if self.fault.mode == "refuse":
            # Bound and not listening: refused, and nobody else gets the port meanwhile.
            self._unlistened = socket.socket()
            self._unlistened.bind(("127.0.0.1", 0))
            self.url = f"http://127.0.0.1:{self._unlistened.getsockname()[1]}"
            return self
        self._server = _Server(self)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.closing.set()
        if self._unlistened is not None:
            self._unlistened.close()
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    request_queue_size = 64

    def __init__(self, owner: FaultServer) -> None:
        self.owner = owner
        super().__init__(("127.0.0.1", 0), _Handler)


class _Handler(socketserver.StreamRequestHandler):
    server: _Server

    def handle(self) -> None:
        owner = self.server.owner
        try:
            seen = self._read()
            if seen is None:
                return
            owner.requests.append(seen)
            owner.arrived.set()
            self._misbehave(owner, seen)
        except OSError:
            return

    def _read(self) -> SeenRequest | None:
        line = self.rfile.readline(1 << 16).decode("latin-1").strip()
        if not line:
            return None
        headers: dict[str, str] = {}
        while header := self.rfile.readline(1 << 16).decode("latin-1").strip():
            name, _, value = header.partition(":")
            headers[name.strip().lower()] = value.strip()
        if headers.get("transfer-encoding", "").lower() == "chunked":
            return SeenRequest(line, headers, self._chunks())
        return SeenRequest(line, headers, self.rfile.read(int(headers.get("content-length", "0"))))

    def _chunks(self) -> bytes:
        body = b""
        while size := int(self.rfile.readline(64).split(b";")[0] or b"0", 16):
            body += self.rfile.read(size)
            self.rfile.readline(8)
        self.rfile.readline(8)
        return body

    def _misbehave(self, owner: FaultServer, seen: SeenRequest) -> None:
        fault = owner.fault
        owner.closing.wait(LONGEST_HANG if fault.mode == "hang" else fault.delay)
        if fault.mode == "hang":
            return
        if fault.mode == "reset":
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            self.connection.close()
            return
        body = _echo(seen) if fault.echo else fault.body
        length = len(body) + (1000 if fault.mode == "truncate" else 0)
        kind = "application/json" if body.startswith((b"{", b"[")) else "text/html"
        head = {"Content-Type": kind, **fault.headers, "Content-Length": str(length), "Connection": "close"}
        lines = [f"HTTP/1.1 {fault.status} Fault", *(f"{name}: {value}" for name, value in head.items()), "", ""]
        self.wfile.write("\r\n".join(lines).encode() + body)


def _echo(seen: SeenRequest) -> bytes:
    """An error that quotes the request, in the places where the better-known providers put their texts."""
    text = seen.text
    one = {"message": text, "description": text, "detail": text, "title": text, "field": text, "code": 99999}
    details = {**one, "error_user_msg": text, "error_data": {"details": text}, "type": text}
    return json.dumps({**one, "error": details, "errors": [one], "more_info": text}).encode()
