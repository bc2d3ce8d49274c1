"""Running a node: open, listen, work, and on a signal stop in order."""

from __future__ import annotations

import asyncio
import errno
import signal
import socket
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack

from aiohttp import web
from waypost.config import Config
from waypost.log import logger
from waypost.node import Node, Role
from waypost.store import migrate
from waypost.store.address import shown
from waypost.store.opening import open_database

from waypost_server import memory
from waypost_server.admin_socket import AdminSocket
from waypost_server.app import build_server
from waypost_server.interpreter import tune_interpreter
from waypost_server.node_lock import NodeLock, database_path, socket_path
from waypost_server.rest import bodies

#: How long requests under way may still take once a node stops, in seconds; a send may wait for its verdict.
DRAIN = 35.0
#: How long bodies that are on their way may still take then, in seconds.
LAST_BODIES = 2.0
#: How long what is canceled in the end may take, in seconds.
LAST_PATIENCE = 2.0
#: How long a starting node waits for commands that work on its database, in seconds.
PATIENCE = 5.0

_LOG = logger()


class ServeError(Exception):
    """A node cannot serve; the message says why and what to do."""


def run(config: Config, role: Role, announce: Callable[[str], None], *, memory_limit: int | None = None) -> None:
    """Serve until SIGTERM or SIGINT, under uvloop where it is installed; `memory_limit` is in MB.

    Raises `ServeError`, also where the memory limit was used up.
    """
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        try:
            runner.run(_until_signal(config, role, announce, memory_limit))
        finally:
            let_go(runner.get_loop())


def let_go(loop: asyncio.AbstractEventLoop, patience: float = LAST_PATIENCE) -> int:
    """Cancel what still runs, and forget what will not end: a plugin's task must not keep a node from stopping.

    Returns how many tasks were left to themselves.
    """
    left = asyncio.all_tasks(loop)
    for task in left:
        task.cancel()
    if left:
        loop.run_until_complete(asyncio.wait(left, timeout=patience))
    stubborn = [task for task in left if not task.done()]
    for task in stubborn:
        asyncio._unregister_task(task)  # documented for those who extend asyncio; else the loop waits for it for ever
    if stubborn:
        _LOG.error("node.tasks_left", tasks=len(stubborn))
    return len(stubborn)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


async def _until_signal(config: Config, role: Role, announce: Callable[[str], None], memory_limit: int | None) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def ask_to_stop() -> None:
        stop.set()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)  # a second signal does not wait

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ask_to_stop)
    if memory_limit is None:
        await serve(config, role, stop, announce)
        return

    def announce_limited(url: str) -> None:
        try:
            memory.limit(memory_limit)  # only now, when the plugins are there: what they take to start is known
        except memory.MemoryLimitError as error:
            raise ServeError(str(error)) from error
        watching.append(loop.create_task(memory.until_exceeded(memory_limit), name="memory"))
        watching[0].add_done_callback(lambda task: None if task.cancelled() else stop.set())
        announce(url)

    watching: list[asyncio.Task[None]] = []
    try:
        await serve(config, role, stop, announce_limited)
        if watching[0].done():
            raise ServeError(memory.sentence(memory_limit, sorted(config.channels)))
    finally:
        for task in watching:
            task.cancel()


async def serve(config: Config, role: Role, stop: asyncio.Event, announce: Callable[[str], None]) -> None:
    """Serve until `stop` is set; `announce` is told the URL once requests are answered."""
    async with AsyncExitStack() as stack:
        is_sqlite = config.database_url.startswith("sqlite")
        if is_sqlite:
            if role != "all":
                raise ServeError("SQLite serves one process; use --role all, or PostgreSQL for several nodes.")
            stack.callback(_lock(config.database_url).release)
        listener = listen(config.host, config.port)
        stack.callback(listener.close)
        if await initialise(config.database_url):
            told = "There was no database, or an empty one, and a new one was made; is it where you meant it to be?"
            _LOG.warning("database.created", at=shown(config.database_url), told=told)
        node = await Node.open(config, role, alone=is_sqlite)
        stack.push_async_callback(node.stop)
        await node.start()
        if is_sqlite:
            admin = AdminSocket(node, socket_path(config.database_url))
            await admin.start()
            stack.push_async_callback(admin.stop)
        stack.push_async_callback(await answer(node, listener))
        url = f"http://{_shown(listener)}"
        tune_interpreter()
        announce(url)  # which may still find that it cannot serve
        _LOG.info("node.serving", node=node.id, role=role, url=url, channels=sorted(node.plugins))
        await stop.wait()
        _LOG.info("node.stopping", node=node.id)
        node.ready = False


class _Runner(web.ServerRunner):
    async def shutdown(self) -> None:
        """Wait for nobody's body for as long as for what was accepted."""
        bodies.hurry(LAST_BODIES)


async def answer(node: Node, listener: socket.socket) -> Callable[[], Awaitable[None]]:
    """Answer HTTP requests on a listening socket; return how to stop, which lets those under way finish."""
    server = build_server(node, keepalive_timeout=75, auto_decompress=False)
    runner = _Runner(server, shutdown_timeout=DRAIN)
    await runner.setup()
    await web.SockSite(runner, listener, backlog=1024).start()
    return runner.cleanup


def listen(host: str, port: int) -> socket.socket:
    """A listening socket. Raises `ServeError` where the address is taken or not ours."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
    except (OSError, UnicodeError) as error:
        raise ServeError(f"The host {host} is not known here; give an address of this machine with --host.") from error
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(1024)
        listener.setblocking(False)  # noqa: FBT003 - the standard library's own
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise ServeError(
                f"Port {port} on {host} is taken by another program; choose another with --port."
            ) from error
        raise ServeError(f"Port {port} on {host} cannot be opened ({error.strerror}); choose another.") from error
    return listener


async def initialise(url: str) -> bool:
    """Give an empty database this release's schema; leave any other as it is. Say whether it was empty."""
    database = await open_database(url)
    try:
        if await database.read(migrate.current_revision) is not None:
            return False
        await database.write(migrate.upgrade)
        return True
    finally:
        await database.close()


def _lock(url: str) -> NodeLock:
    lock = NodeLock(url)
    if not lock.take(patience=PATIENCE):
        holder = f" (process {lock.holder()})" if lock.holder() else ""
        raise ServeError(
            f"Another node{holder} already serves {database_path(url)}; stop it first, or use PostgreSQL for several."
        )
    return lock


def _shown(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
