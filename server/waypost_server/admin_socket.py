"""The admin socket: operations on a running node, for commands on the same machine.

A unix socket that only the node's own user may open (mode 0600). One request and one answer a connection, each a line
of JSON: `{"operation", "arguments", "actor"}` → `{"result"}` or `{"error": {"code", "message"}}`.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from pathlib import Path
from typing import Any

import orjson
from waypost.log import logger
from waypost.node import Node
from waypost.operations import OperationError, Operator, call
from waypost.store.database import StoreUnavailableError
from waypost.vault import VaultError

from waypost_server.node_lock import short_path

#: Room for a rate card of some ten thousand lines.
MAX_REQUEST = 32 * 1024 * 1024
#: How long whoever asked may take to read their answer, in seconds: a command that was suspended never does.
PATIENCE = 10.0

_LOG = logger()


class AdminSocket:
    """Answers operations over a unix socket. `start`, then `stop`."""

    def __init__(self, node: Node, path: Path) -> None:
        self._node = node
        self._path = path
        self._server: asyncio.Server | None = None
        self._busy: set[asyncio.Task[Any]] = set()
        #: Those of them that have not been asked anything yet.
        self._listening: set[asyncio.Task[Any]] = set()

    async def start(self) -> None:
        """Listen, in place of a socket that an earlier process left behind."""
        self._path.unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        # Made with the mode it is to have: there is no moment at which others could open it.
        before = os.umask(0o177)
        try:
            with short_path(self._path) as path:
                listener.bind(path)
        except BaseException:
            listener.close()
            raise
        finally:
            os.umask(before)
        self._server = await asyncio.start_unix_server(self._serve, sock=listener, limit=MAX_REQUEST)

    async def stop(self) -> None:
        """Take no more requests and finish those under way."""
        if self._server is not None:
            self._server.close()
            self._path.unlink(missing_ok=True)
        for task in self._listening:
            task.cancel()
        if self._busy:
            await asyncio.wait(self._busy)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._busy.add(task)
        self._listening.add(task)
        try:
            async with asyncio.timeout(30):
                line = await reader.readline()
            self._listening.discard(task)
            writer.transport.set_write_buffer_limits(0)  # so that all of it is read once it is drained
            writer.write(orjson.dumps(await self._answer(line)) + b"\n")
            async with asyncio.timeout(PATIENCE):
                await writer.drain()
        except (ConnectionError, TimeoutError, ValueError):
            writer.transport.abort()  # whoever asked has gone, says or reads nothing, or said more than a line may hold
        finally:
            self._listening.discard(task)
            self._busy.discard(task)
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    async def _answer(self, line: bytes) -> dict[str, Any]:
        try:
            request = orjson.loads(line)
            name, arguments, actor = str(request["operation"]), dict(request["arguments"]), str(request["actor"])
        except (ValueError, KeyError, TypeError):
            return _error("malformed", "The request must be one line of JSON: operation, arguments, actor.")
        operator = Operator(
            database=self._node.database,
            vault=self._node.vault,
            records=self._node.records,
            config=self._node.config,
            actor=actor,
            changed=self._node.changed,
        )
        try:
            result = await call(operator, name, arguments)
            with contextlib.suppress(StoreUnavailableError):  # it is done, whatever comes after it
                await self._node.refresh()  # what was changed holds here before the answer says so
        except OperationError as error:
            return _error(error.code, str(error))
        except (StoreUnavailableError, VaultError) as error:
            return _error("unavailable", str(error))
        except Exception as error:  # noqa: BLE001 - told to the log; whoever asked gets a sentence
            _LOG.exception("operation.failed", operation=name, problem=type(error).__name__)
            return _error("internal", f"The node failed ({type(error).__name__}); its log says more.")
        return {"result": result}


def _error(code: str, message: str) -> dict[str, Any]:
    return {"error": {"code": code, "message": message}}
