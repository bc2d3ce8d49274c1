"""Is pricing pure, and does it know every content kind? And addresses: are they parsed, and is nonsense refused?"""

from __future__ import annotations

import copy
from typing import Any

from waypost.plugin.errors import ChannelError, InvalidRecipient
from waypost.plugin.types import Address, Context, OutboundMessage, Quote, QuoteLine
from waypost.testing.check import CheckFailed, NotApplicable, check
from waypost.testing.purity import watched
from waypost.testing.stage import NoHttp, Stage, UsedNetworkError
from waypost.testing.subject import Subject

NONSENSE = ("", " ", "\t\n", "\x00", "no such address \U0001f4a5", "x" * 5000, "\udcff", "☃" * 40)


class PricingChecks(Subject):
    """`price`, `parse_address` and the examples."""

    @check("bronze", "Give channel_info().examples one valid example, without `kind`, for every declared content kind.")
    def test_examples_complete(self) -> None:
        """Every declared content kind has an example that its model accepts, and nothing else has one."""
        info = self.channel.info
        problems = [
            f"there is an example of {kind!r}, which is not declared"
            for kind in info.examples.keys() - info.content_kinds
        ]
        for kind in sorted(info.content_kinds):
            try:
                self.content(kind)
            except CheckFailed as failure:
                problems.append(str(failure))
        if problems:
            raise CheckFailed("\n".join(problems))

    @check("bronze", "Return a Quote of lines with sku, whole quantity and charge_on for every declared content kind.")
    def test_price_every_kind(self) -> None:
        """Every declared content kind has a price."""
        problems = []
        for kind, ctx, message in self._cases():
            try:
                problem = _fault_of(self.hooks.price(ctx=ctx, message=message))
            except ChannelError as error:
                problem = f"is refused: {type(error).__name__}: {error.detail}"
            except Exception as error:  # noqa: BLE001 - a stranger's code
                problem = f"raises {type(error).__name__}: {error}"
            if problem:
                problems.append(f"{kind}: {problem}")
        if problems:
            raise CheckFailed("\n".join(problems))

    @check(
        "bronze",
        "Compute the quote from the message, the settings and `ctx` alone: the same question, the same answer.",
    )
    def test_price_deterministic(self) -> None:
        """The same message has the same price, whatever was priced before."""
        first = {kind: self._quote(ctx, message) for kind, ctx, message in self._cases()}
        for kind, ctx, message in reversed(self._cases()):
            if self._quote(ctx, message) != first[kind] or self._quote(ctx, message) != first[kind]:
                raise CheckFailed(f"{kind}: priced again, it costs something else")

    @check(
        "bronze", "Let price read only: no clock but ctx.now, no chance, no network, and change nothing it is given."
    )
    def test_price_pure(self) -> None:
        """Pricing changes nothing and asks neither the clock nor the network."""
        for kind, ctx, message in self._cases():
            before = _snapshot(ctx, message)
            tried = self._tried(ctx, message)
            if tried:
                raise CheckFailed(f"{kind}: price called {', '.join(dict.fromkeys(tried))}")
            if _snapshot(ctx, message) != before:
                raise CheckFailed(f"{kind}: price changed the message or the context")

    def _tried(self, ctx: Context, message: OutboundMessage) -> list[str]:
        """What pricing this message reached for and should not have."""
        with watched(self.hooks.price.get_hookimpls()[0].function) as tried:
            try:
                self.hooks.price(ctx=ctx, message=message)
            except UsedNetworkError:
                return [*tried, "ctx.http"]
            except Exception:  # noqa: BLE001 - other checks look at what it raises
                return tried
        return tried

    def _quote(self, ctx: Context, message: OutboundMessage) -> Any:
        try:
            return self.hooks.price(ctx=ctx, message=message)
        except ChannelError as error:
            return (type(error), error.detail)

    def _cases(self) -> list[tuple[str, Context, OutboundMessage]]:
        simulator = self.new_simulator()
        account = self.account_of(simulator)
        stage = Stage(self, simulator, account, NoHttp())  # type: ignore[arg-type]
        ctx = stage.context()
        kinds = sorted(self.channel.info.content_kinds & self.channel.info.examples.keys())
        return [(kind, ctx, self.message(simulator, kind, options={"contract": {"kit": [1]}})) for kind in kinds]

    @check("bronze", "Let parse_address return an Address of a declared kind, in a form that it parses to itself.")
    def test_address_parsed(self) -> None:
        """The simulator's recipients are addresses of a declared kind; the normal form of an address is stable."""
        simulator = self.new_simulator()
        for value in (simulator.ordinary_recipient, *simulator.magic):
            found: Any = self.address(value)
            if not isinstance(found, Address) or found.kind not in self.channel.info.address_kinds:
                raise CheckFailed(f"the recipient {value!r} became {found!r}, which is of no declared address kind")
            if self.address(found.value) != found:
                raise CheckFailed(f"the recipient {value!r} becomes something else when it is parsed again")

    @check(
        "bronze", "Raise InvalidRecipient from parse_address for whatever is no address: empty, far too long, binary."
    )
    def test_address_nonsense(self) -> None:
        """`parse_address` raises `InvalidRecipient`, and nothing else, for nonsense."""
        if "parse_address" not in self.channel.hooks:
            raise NotApplicable("not applicable: it has no parse_address, so the core's own applies")
        for value in NONSENSE:
            try:
                found = self.hooks.parse_address(value=value)
            except InvalidRecipient:
                continue
            except Exception as error:  # noqa: BLE001 - a stranger's code
                raise CheckFailed(f"parse_address({value[:40]!r}) raises {type(error).__name__}") from None
            raise CheckFailed(f"parse_address({value[:40]!r}) takes it for an address: {found!r}")


def _fault_of(quote: object) -> str:
    if not isinstance(quote, Quote):
        return f"price returned a {type(quote).__name__}, not a Quote"
    lines: tuple[Any, ...] = quote.lines
    for line in lines:
        sku, quantity = getattr(line, "sku", None), getattr(line, "quantity", None)
        if not isinstance(line, QuoteLine) or not isinstance(sku, str) or not sku:
            return f"the line {line!r} has no sku"
        if type(quantity) is not int or quantity < 0:
            return f"the quantity {quantity!r} is no whole number"
        if line.charge_on not in ("sent", "delivered"):
            return f"charge_on is {line.charge_on!r}, neither 'sent' nor 'delivered'"
    return ""


def _snapshot(ctx: Context, message: OutboundMessage) -> Any:
    return copy.deepcopy(
        (
            message.content.model_dump(), dict(message.options), message.recipient, message.sender,
            ctx.account.model_dump(), ctx.provider_app.model_dump(), ctx.correlation, ctx.now,
        )
    )  # fmt: skip
