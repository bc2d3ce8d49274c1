"""What does it make of a provider's faults? One request each, the right class, and not a word too much."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

from waypost.plugin.errors import (
    AccountBlocked,
    ChannelError,
    OutcomeUnknown,
    Permanent,
    RateLimited,
    Transient,
)
from waypost.plugin.types import SendResult
from waypost.testing.check import CheckFailed, NotApplicable, check
from waypost.testing.fault_server import Fault, FaultServer
from waypost.testing.stage import Stage, on_stage, texts_of
from waypost.testing.subject import Subject, secrets_of

RETRY_AFTER = 7.0
#: How soon a send has to end once it is cancelled or its session is closed, in seconds.
PROMPTLY = 2.0
#: The errors that quote the request back; the last send is understood.
ECHOES = (400, 401, 403, 404, 429, 500, 503)

Expected = tuple[type[ChannelError], ...]


class FaultChecks(Subject):
    """A provider that answers with an error, with nonsense, or not at all."""

    async def meet(self, fault: Fault, expected: Expected) -> None:
        """Send once against a fault; hold the exception and the number of requests against the plugin."""
        self.over_http()
        with FaultServer(fault) as server:
            async with on_stage(self, url=server.url) as stage:
                server.requests.clear()
                with stage.patience.brief() if fault.mode == "hang" else nullcontext():
                    error = await _failure(stage)
            count = len(server.requests)
        wanted = " or ".join(cls.__name__ for cls in expected)
        if isinstance(error, SendResult):
            raise CheckFailed(f"send reported success; expected {wanted}")
        if not isinstance(error, ChannelError):
            raise CheckFailed(f"send raised {type(error).__name__}: {error}; expected {wanted}")
        allowed = 0 if fault.mode == "refuse" else 1
        if count != allowed:
            raise CheckFailed(f"the provider got {count} requests, not {allowed}: a send makes one, and never retries")
        if not isinstance(error, expected):
            raise CheckFailed(f"send raised {type(error).__name__} ({error.detail}); expected {wanted}")
        if isinstance(error, RateLimited):
            self._pause(error, named="Retry-After" in fault.headers)

    def over_http(self) -> None:
        """Raise `NotApplicable` for a plugin with a transport of its own."""
        if not self.speaks_http:
            raise NotApplicable("not applicable: it has a transport of its own and does not speak HTTP")

    def _pause(self, error: RateLimited, *, named: bool) -> None:
        if named and (error.retry_after is None or abs(error.retry_after - RETRY_AFTER) > 1.5):
            raise CheckFailed(f"Retry-After was {RETRY_AFTER:g} s and retry_after is {error.retry_after}")
        if not named and error.retry_after is not None and error.retry_after < 0:
            raise CheckFailed(f"retry_after is {error.retry_after}, which lies in the past")

    @check(
        "silver", "Put into an error only your own words for the provider's code: its message may quote the request."
    )
    async def test_errors_discreet(self) -> None:
        """No error tells a secret, an address or the content, though the provider quotes the whole request."""
        self.over_http()
        for status in ECHOES:
            with FaultServer(Fault(status=status, echo=True)) as server:
                async with on_stage(self, url=server.url) as stage:
                    error = await _failure(stage)
                    told = _told(error)
                    found = [what for what, words in self._sensitive(stage).items() for one in words if one in told]
            if found:
                raise CheckFailed(f"the error for {status} tells {' and '.join(sorted(set(found)))}")

    @check("silver", "Log ids and codes only; never headers, settings, addresses, bodies or a provider's answer.")
    async def test_logs_discreet(self) -> None:
        """Nothing is logged or printed that holds a secret, an address or the content."""
        self.over_http()
        for status in (*ECHOES, 200):
            with FaultServer(Fault(status=status, echo=True)) as server, _logged() as lines:
                async with on_stage(self, url=server.url) as stage:
                    await _failure(stage)
                    sensitive = self._sensitive(stage)
                    told = "\n".join([*lines, *stage.log.lines])
            self._hold(told, sensitive, f"while the provider answered {status}")
        with _logged() as lines:
            async with on_stage(self) as stage:
                await _failure(stage)
                sensitive = self._sensitive(stage)
                told = "\n".join([*lines, *stage.log.lines])
        self._hold(told, sensitive, "during a send that went well")

    def _hold(self, told: str, sensitive: dict[str, set[str]], moment: str) -> None:
        found = sorted(what for what, words in sensitive.items() if any(word in told for word in words))
        if found:
            raise CheckFailed(f"{' and '.join(found)} in the log {moment}")

    def _sensitive(self, stage: Stage) -> dict[str, set[str]]:
        message = self.message(stage.simulator)
        return {
            "a secret": secrets_of(stage.account.account, stage.account.provider_app),
            "the address": {address.value for address in message.recipient},
            "the content": texts_of(message.content.model_dump(exclude={"kind"})),
        }

    @check(
        "silver", "Let CancelledError pass: catch the errors you know, never BaseException, and never go on after it."
    )
    async def test_cancellation_passes(self) -> None:
        """A send that is cancelled ends at once, with `CancelledError`, and makes no further request."""
        self.over_http()
        with FaultServer(Fault("hang")) as server:
            async with on_stage(self, url=server.url) as stage:
                task = asyncio.create_task(stage.send(self.message(stage.simulator)))
                await self._arrival(server, task)
                task.cancel()
                done, _ = await asyncio.wait({task}, timeout=PROMPTLY)
                if not done:
                    raise CheckFailed(f"the send went on for more than {PROMPTLY:g} s after it was cancelled")
            if not task.cancelled():
                raise CheckFailed(f"the cancellation was swallowed: the send ended with {_ending(task)}")
            if len(server.requests) != 1:
                raise CheckFailed(f"the provider got {len(server.requests)} requests, not 1")

    @check(
        "gold",
        "Use ctx.http (or a client that open_account opens) for every request, and catch nothing you cannot name.",
    )
    async def test_close_during_send(self) -> None:
        """When the session is closed under a send, the send ends, and does not say that nothing was sent."""
        self.over_http()
        with FaultServer(Fault("hang")) as server:
            async with on_stage(self, url=server.url) as stage:
                task = asyncio.create_task(stage.send(self.message(stage.simulator)))
                await self._arrival(server, task)
                await stage.http.close()
                done, _ = await asyncio.wait({task}, timeout=PROMPTLY)
                if not done:
                    task.cancel()
                    await asyncio.wait({task})
                    raise CheckFailed(f"the send hung for more than {PROMPTLY:g} s after its session was closed")
            error = task.exception()
            if not isinstance(error, OutcomeUnknown):
                raise CheckFailed(f"the send ended with {_ending(task)}; it may have been sent: raise OutcomeUnknown")

    async def _arrival(self, server: FaultServer, task: asyncio.Task[SendResult]) -> None:
        arrived = asyncio.ensure_future(asyncio.to_thread(server.arrived.wait, PROMPTLY))
        await asyncio.wait({arrived, task}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            server.arrived.set()
            await arrived
            raise CheckFailed(f"the provider was still silent when the send ended with {_ending(task)}")
        if not await arrived:
            task.cancel()
            await asyncio.wait({task})
            raise CheckFailed("the request never arrived at the provider")


def _fault_check(name: str, fault: Fault, expected: Expected, advice: str) -> None:
    async def run(self: FaultChecks) -> None:
        await self.meet(fault, expected)

    run.__name__ = f"test_{name}"
    run.__qualname__ = f"FaultChecks.test_{name}"
    run.__doc__ = advice
    setattr(FaultChecks, run.__name__, check("silver", advice)(run))


def _answered(
    status: int, *expected: type[ChannelError], headers: dict[str, str] | None = None, name: str = ""
) -> None:
    classes = " or ".join(cls.__name__ for cls in expected)
    what = f"{status} with Retry-After" if headers else str(status)
    advice = f"When the provider answers {what}, raise {classes} after one request, as http.raise_for_status does."
    fault = Fault(status=status, headers=headers or {}, body=b'{"problem": "the contract kit says so"}')
    _fault_check(name or f"fault_{status}", fault, expected, advice)


_answered(429, RateLimited)
_answered(429, RateLimited, headers={"Retry-After": f"{RETRY_AFTER:g}"}, name="fault_429_retry_after")
_answered(400, Permanent)
_answered(401, AccountBlocked)
_answered(403, Permanent, AccountBlocked)
_answered(500, OutcomeUnknown)
_answered(502, OutcomeUnknown)
_answered(503, OutcomeUnknown, Transient)
_fault_check(
    "fault_hang",
    Fault("hang"),
    (OutcomeUnknown,),
    "When the provider takes the request and never answers, raise OutcomeUnknown and do not ask again.",
)
_fault_check(
    "fault_reset",
    Fault("reset"),
    (OutcomeUnknown,),
    "When the connection breaks after the request left, raise OutcomeUnknown and do not ask again.",
)
_fault_check(
    "fault_truncated",
    Fault("truncate", body=b'{"id": "'),
    (OutcomeUnknown,),
    "When the answer ends too early, raise OutcomeUnknown: the message may have been sent.",
)
_fault_check(
    "fault_garbage",
    Fault(status=200, body=b"\x00<html>nonsense"),
    (OutcomeUnknown,),
    "When a 2xx cannot be understood, raise OutcomeUnknown instead of reporting success without an id.",
)
_fault_check(
    "fault_refused",
    Fault("refuse"),
    (Transient,),
    "When no connection can be made, raise Transient: nothing was sent, and it may be tried again.",
)


async def _failure(stage: Stage) -> object:
    """What a send came to: its result, or what it raised."""
    try:
        return await stage.send(stage.subject.message(stage.simulator))
    except CheckFailed:
        raise
    except Exception as error:  # noqa: BLE001 - the checks judge whatever it is
        return error


def _told(error: object) -> str:
    words = [str(error), repr(error)]
    if isinstance(error, ChannelError):
        words += [error.detail, str(error.provider_code), repr(error.args)]
    return "\n".join(words)


def _ending(task: asyncio.Task[SendResult]) -> str:
    if task.cancelled():
        return "CancelledError"
    error = task.exception()
    return f"{type(error).__name__}: {error}" if error is not None else "a SendResult"


@contextmanager
def _logged() -> Iterator[list[str]]:
    """Everything that goes to the standard library's loggers meanwhile, in full."""
    lines: list[str] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            trace = logging.Formatter().formatException(record.exc_info) if record.exc_info else ""
            lines.append(f"{record.name} {record.getMessage()} {record.args!r} {trace}")

    root, handler = logging.getLogger(), Keep(level=logging.DEBUG)
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    try:
        yield lines
    finally:
        root.setLevel(level)
        root.removeHandler(handler)
