"""The demo: a gateway and simulated providers on loopback, with messages accepted, sent, delivered and paid for."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import signal
import tempfile
from pathlib import Path

from waypost import log

from waypost_server.demo.orders import deliver, orders
from waypost_server.demo.stage import Stage
from waypost_server.demo.telling import JsonLines, Telling, Words


def run(*, port: int, once: bool, as_json: bool) -> int:
    """Run the demo and return its exit code: 0, or 1 where a message did not arrive. Raises `ServeError`."""
    folder = Path(tempfile.mkdtemp(prefix="waypost-demo-"))
    keep = False
    try:
        with (folder / "log.jsonl").open("wb", buffering=0) as stream:
            log.configure("info", stream)
            telling: Telling = JsonLines() if as_json else Words()
            try:
                arrived = _loop(folder, port, telling, once=once)
            except (KeyboardInterrupt, asyncio.CancelledError):
                return 130 if once else 0
        keep = not arrived
        if keep:
            telling.failed(folder / "log.jsonl")
        return 0 if arrived else 1
    finally:
        log.configure("warning")
        if not keep:
            shutil.rmtree(folder, ignore_errors=True)


def _loop(folder: Path, port: int, telling: Telling, *, once: bool) -> bool:
    try:
        from uvloop import new_event_loop as factory
    except ImportError:
        factory = None  # type: ignore[assignment]
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(_play(folder, port, telling, once=once))


async def _play(folder: Path, port: int, telling: Telling, *, once: bool) -> bool:
    """Set the stage, send everything, tell what became of it, and go on serving unless `once`."""
    work = asyncio.current_task()
    assert work is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, work.cancel)
    async with Stage.set(folder, port) as stage:
        telling.ready(stage)
        arrived = True
        sent = list(orders(stage))
        for order in sent:
            told = await deliver(stage, order)
            arrived = arrived and told.arrived
            telling.message(told)
        telling.afterwards(stage, sent, serving=not once)
        if not once:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.Event().wait()
    return arrived or not once
