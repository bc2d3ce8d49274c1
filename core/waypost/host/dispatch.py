"""Calls exactly one plugin, and turns whatever it does into what the core knows.

Each plugin lives in a pluggy manager of its own: a call reaches that plugin and no other by construction, and costs
the same however many are installed. pluggy has checked names and signatures; what it found is called directly, with
just the arguments that the implementation takes. This is the only module with untyped calls.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Sequence
from typing import Any, TypeVar, cast

import pluggy

from waypost.host.answers import error_fault, event_fault, lookup_fault, quote_fault, result_fault
from waypost.host.deadlines import PASSING, PASSING_ASYNC, CanceledItselfError, Deadlines, OverdueError
from waypost.log import described, logger
from waypost.plugin.errors import ChannelError, InvalidRecipient, NotSent, OutcomeUnknown, Permanent
from waypost.plugin.events import ChannelEvent
from waypost.plugin.simulator import Simulator
from waypost.plugin.spec import ChannelSpec, Emit, Proceed, SendCall, SendMiddleware
from waypost.plugin.types import (
    AccountHealth,
    Address,
    ChannelInfo,
    Context,
    LookupResult,
    OutboundMessage,
    Quote,
    Recognition,
    SendAttempt,
    SendResult,
    TemplateInfo,
    WebhookConnection,
    WebhookContext,
    WebhookRequest,
    WebhookVerdict,
)

T = TypeVar("T")

_LOG = logger()

#: How long the I/O hooks other than `send` may take, in seconds.
HOOK_DEADLINE = 20.0


class PluginFaultError(Exception):
    """A plugin raised what it does not declare, answered with the wrong type or took too long; tell its author."""

    def __init__(self, plugin: str, hook: str, problem: str) -> None:
        self.plugin, self.hook, self.problem = plugin, hook, problem
        super().__init__(f"{plugin}.{hook} {problem}")


class ChannelPlugin:
    """A loaded plugin behind typed methods."""

    def __init__(self, plugin_id: str, info: ChannelInfo, manager: pluggy.PluginManager, hooks: frozenset[str]) -> None:
        self.id = plugin_id
        self.info = info
        self.hooks = hooks
        found = {hook: getattr(manager.hook, hook).get_hookimpls()[0] for hook in hooks}
        self._call = {hook: _direct(hook, implementation) for hook, implementation in found.items()}
        self._modules = frozenset(name for implementation in found.values() for name in _written_in(implementation))
        self._chain: Proceed = self._provider_send
        #: Set once this node has stopped using the plugin, which it then never asks for anything any more.
        self.halted = False
        self._deadlines = Deadlines(plugin_id)

    def __repr__(self) -> str:
        return f"<ChannelPlugin {self.id}>"

    @property
    def modules(self) -> frozenset[str]:
        """The modules that its hooks are written in."""
        return self._modules

    def runs(self, task: asyncio.Task[Any] | None) -> bool:
        """Whether this task is one of its I/O hooks."""
        return self._deadlines.runs(task)

    def when_abandoned(self, tell: Callable[[str], None]) -> None:
        """Name whom to tell which hook did not end when it was canceled."""
        self._deadlines.on_abandoned = tell

    def wrap(self, middlewares: Sequence[SendMiddleware]) -> None:
        """Put middlewares around every send, the first outermost."""
        chain: Proceed = self._provider_send
        for middleware in reversed(middlewares):
            chain = _wrapped(middleware, chain)
        self._chain = chain

    # ---- pure hooks

    def price(self, ctx: Context, message: OutboundMessage) -> Quote:
        """Meter a message. Raises `Permanent` where the plugin refuses, `PluginFaultError` where it is broken."""
        quote = self._pure("price", Quote, Permanent, ctx=ctx, message=message)
        if (fault := quote_fault(quote)) is not None:
            raise PluginFaultError(self.id, "price", fault)
        return quote

    def parse_address(self, value: str) -> Address:
        """A partner's `to` in normal form; as the plugin's preferred kind where it has no hook for it."""
        if "parse_address" not in self.hooks:
            text = value.strip()
            if not text or len(text) > 512:
                raise InvalidRecipient
            return Address(self.info.address_kinds[0], text)
        return self._pure("parse_address", Address, InvalidRecipient, value=value)

    def parse_event(self, ctx: WebhookContext, request: WebhookRequest) -> list[ChannelEvent]:
        """The events of a verified delivery. Raises `PluginFaultError`."""
        try:
            events = list(self._call["parse_event"](ctx=ctx, request=request) or ())
        except PASSING:
            raise
        except BaseException as error:
            raise PluginFaultError(self.id, "parse_event", f"raised {type(error).__name__}") from error
        for item in events:
            if (fault := event_fault(item)) is not None:
                raise PluginFaultError(self.id, "parse_event", fault)
        return events

    def recognize(self, request: WebhookRequest) -> Recognition | None:
        """Whether a delivery on a shared URL looks like this plugin's."""
        if "recognize" not in self.hooks:
            return None
        try:
            answer = self._call["recognize"](request=request)
        except PASSING:
            raise
        except BaseException as error:
            raise PluginFaultError(self.id, "recognize", f"raised {type(error).__name__}") from error
        return answer if isinstance(answer, Recognition) else None

    def simulator(self) -> Simulator:
        """A new simulator of the provider."""
        if "simulator" not in self.hooks:
            raise PluginFaultError(self.id, "simulator", "is not there: this plugin has no simulator")
        return self._pure("simulator", Simulator, ())  # type: ignore[type-abstract]  # a subclass is asked for

    # ---- hooks that do I/O

    async def send(self, ctx: Context, message: OutboundMessage) -> SendResult:
        """Send once, through the wrappers. Raises only `ChannelError`: anything undeclared is `OutcomeUnknown`."""
        try:
            call = SendCall(plugin=self.id, ctx=ctx, message=message)
            result = await self._deadlines.bounded("send", self._chain(call), self.info.send_timeout)
        except (NotSent, OutcomeUnknown) as error:
            if (fault := error_fault(error)) is not None:
                raise self._failed(fault, error) from error
            raise
        except OverdueError as error:
            raise OutcomeUnknown(f"The provider did not answer within {self.info.send_timeout:g} s.") from error
        except CanceledItselfError as error:
            raise self._failed("canceled itself") from error
        except PASSING_ASYNC:
            raise
        except BaseException as error:
            raise self._failed(f"failed ({type(error).__name__})", error) from error
        if not isinstance(result, SendResult):
            raise self._failed(f"answered with a {type(result).__name__}")
        if (fault := result_fault(result)) is not None:
            raise self._failed(fault)
        return result

    def _failed(self, problem: str, error: BaseException | None = None) -> OutcomeUnknown:
        """A send of which nobody knows what became, by the plugin's fault; its author finds the place in the log."""
        _LOG.error("plugin.send_failed", plugin=self.id, problem=problem, cause=described(error))
        return OutcomeUnknown(f"The channel plugin {problem}.", provider_code="plugin_fault")

    async def _provider_send(self, call: SendCall) -> SendResult:
        return cast("SendResult", await self._call["send"](ctx=call.ctx, message=call.message))

    async def verify_webhook(self, ctx: WebhookContext, request: WebhookRequest) -> WebhookVerdict:
        """The plugin's verdict. Raises `PluginFaultError`."""
        return cast("WebhookVerdict", await self._io("verify_webhook", WebhookVerdict, ctx=ctx, request=request))

    async def lookup(self, ctx: Context, attempt: SendAttempt) -> LookupResult | None:
        """What became of an attempt. Raises `ChannelError` or `PluginFaultError`."""
        found = cast("LookupResult | None", await self._io("lookup", LookupResult | None, ctx=ctx, attempt=attempt))
        if found is not None and (fault := lookup_fault(found)) is not None:
            raise PluginFaultError(self.id, "lookup", fault)
        return found

    async def check_account(self, ctx: Context) -> AccountHealth:
        """Whether the account may send. Raises `ChannelError` or `PluginFaultError`."""
        return cast("AccountHealth", await self._io("check_account", AccountHealth, ctx=ctx))

    async def list_templates(self, ctx: Context) -> list[TemplateInfo]:
        """The account's templates. Raises `ChannelError` or `PluginFaultError`."""
        found = list(cast("Sequence[TemplateInfo]", await self._io("list_templates", Sequence, ctx=ctx)))
        for item in found:
            if not isinstance(item, TemplateInfo):
                raise PluginFaultError(self.id, "list_templates", f"returned a {type(item).__name__}")
        return found

    async def connect_webhook(self, ctx: Context, url: str) -> WebhookConnection:
        """Point the provider's webhooks at this URL. Raises `ChannelError` or `PluginFaultError`."""
        return cast("WebhookConnection", await self._io("connect_webhook", WebhookConnection, ctx=ctx, url=url))

    async def open_account(self, ctx: Context) -> object | None:
        """What `ctx.client` shall be; None where the plugin needs nothing of its own."""
        return await self._io("open_account", object, ctx=ctx) if "open_account" in self.hooks else None

    async def close_account(self, client: object) -> None:
        """Close a client that `open_account` opened."""
        if "close_account" in self.hooks:
            await self._io("close_account", type(None), client=client)

    async def listen(self, ctx: Context, emit: Emit) -> None:
        """Hold the connection that receives until it ends. Raises `ChannelError` or `PluginFaultError`."""
        try:
            await self._call["listen"](ctx=ctx, emit=emit)
        except ChannelError:
            raise
        except PASSING_ASYNC as error:
            if isinstance(error, asyncio.CancelledError) and not _is_canceled():
                raise PluginFaultError(self.id, "listen", "canceled itself") from error
            raise
        except BaseException as error:
            raise PluginFaultError(self.id, "listen", f"raised {type(error).__name__}") from error

    # ---- calling

    def _pure(self, hook: str, expected: type[T], declared: type[ChannelError] | tuple[()], /, **arguments: Any) -> T:
        try:
            answer = self._call[hook](**arguments)
        except declared as error:
            if (fault := error_fault(error)) is not None:
                raise PluginFaultError(self.id, hook, fault) from error
            raise
        except PASSING:
            raise
        except BaseException as error:
            raise PluginFaultError(self.id, hook, f"raised {type(error).__name__}") from error
        if not isinstance(answer, expected):
            raise PluginFaultError(self.id, hook, f"returned a {type(answer).__name__}, not a {expected.__name__}")
        return answer

    async def _io(self, hook: str, expected: Any, **arguments: Any) -> object:
        try:
            answer = await self._deadlines.bounded(hook, self._call[hook](**arguments), HOOK_DEADLINE)
        except ChannelError as error:
            if (fault := error_fault(error)) is not None:
                raise PluginFaultError(self.id, hook, fault) from error
            raise
        except OverdueError as error:
            raise PluginFaultError(self.id, hook, f"took longer than {HOOK_DEADLINE:g} s") from error
        except CanceledItselfError as error:
            raise PluginFaultError(self.id, hook, "canceled itself") from error
        except PASSING_ASYNC:
            raise
        except BaseException as error:
            raise PluginFaultError(self.id, hook, f"raised {type(error).__name__}") from error
        if not isinstance(answer, expected):
            raise PluginFaultError(self.id, hook, f"returned a {type(answer).__name__}")
        return cast("object", answer)


def _written_in(implementation: Any) -> tuple[str, ...]:
    """The modules of a hook's function and of the object that it belongs to, without our own."""
    owner = implementation.plugin
    names = (
        getattr(implementation.function, "__module__", None),
        owner.__name__ if inspect.ismodule(owner) else type(owner).__module__,
    )
    return tuple(name for name in names if name and name.partition(".")[0] != "waypost")


def _direct(hook: str, implementation: Any) -> Callable[..., Any]:
    """A hook implementation, called with those of the hook's arguments that it takes."""
    function: Callable[..., Any] = implementation.function
    wanted: tuple[str, ...] = implementation.argnames
    offered = {name for name in inspect.signature(getattr(ChannelSpec, hook)).parameters if name != "self"}
    if offered == set(wanted):
        return function

    def call(**arguments: Any) -> Any:
        return function(*(arguments[name] for name in wanted))

    return call


def _wrapped(middleware: SendMiddleware, inner: Proceed) -> Proceed:
    async def call_once(call: SendCall) -> SendResult:
        called = False

        async def proceed(inner_call: SendCall) -> SendResult:
            nonlocal called
            if called:
                raise RuntimeError("a wrapper may proceed once; retries belong to the outbox")
            called = True
            return await inner(inner_call)

        return await middleware(call, proceed)

    return call_once


def _is_canceled() -> bool:
    """Whether somebody has asked the running task to end."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
