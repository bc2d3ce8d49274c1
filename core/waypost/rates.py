"""Rate cards: the longest destination prefix that has a price for the sku wins, by the newest rate valid now.

Prices are pinned: a message keeps the rates it was accepted with, whatever the card says later.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from waypost.lifecycle.settlement import PricedLine
from waypost.plugin.types import Micros, Quote, QuoteLine
from waypost.store.rates import Rate

#: For how many beginnings of destinations a card remembers its rates.
REMEMBERED = 10_000


class RateCard:
    """One gateway's prices, indexed for lookup by currency, sku and destination."""

    def __init__(self, rates: Iterable[Rate] = ()) -> None:
        self._rates: dict[tuple[str, str], dict[str, list[Rate]]] = {}
        self._longest: dict[tuple[str, str], int] = {}
        self._candidates: dict[tuple[str, str, str], list[Rate]] = {}
        for rate in rates:
            self.add(rate)

    def add(self, rate: Rate) -> None:
        """Put a rate onto the card."""
        key = (rate.currency, rate.sku)
        versions = self._rates.setdefault(key, {}).setdefault(rate.prefix, [])
        versions.append(rate)
        versions.sort(key=lambda item: item.valid_from, reverse=True)
        self._longest[key] = max(self._longest.get(key, 0), len(rate.prefix))
        self._candidates.clear()

    def find(self, currency: str, sku: str, destination: str, now: int) -> Rate | None:
        """The rate of a sku to a destination (digits without `+`, or a domain) at this moment."""
        key = (currency, sku)
        longest = self._longest.get(key)
        if longest is None:
            return None
        beginning = (currency, sku, destination[:longest])
        candidates = self._candidates.get(beginning)
        if candidates is None:
            candidates = self._remember(key, beginning)
        for rate in candidates:
            if rate.valid_from <= now:
                return rate
        return None

    def _remember(self, key: tuple[str, str], beginning: tuple[str, str, str]) -> list[Rate]:
        """The rates that a destination with this beginning may have, the best first."""
        prefixes, digits = self._rates[key], beginning[2]
        found = [rate for length in range(len(digits), -1, -1) for rate in prefixes.get(digits[:length], ())]
        if len(self._candidates) >= REMEMBERED:
            self._candidates.clear()
        self._candidates[beginning] = found
        return found

    def price(
        self, lines: Sequence[QuoteLine], currency: str, destination: str, now: int
    ) -> tuple[PricedLine, ...] | str:
        """Price the lines of a quote; or name the sku that has no rate."""
        priced = []
        for line in lines:
            rate = self.find(currency, line.sku, destination, now)
            if rate is None:
                return line.sku
            priced.append(PricedLine(line.sku, line.quantity, line.charge_on, rate.price * line.quantity, rate.id))
        return tuple(priced)


class Tariff:
    """One card's prices for the message being priced: what a plugin asks through `ctx.rates`, then the quote's own.

    One object serves a way for all its messages, which are priced one after the other.
    """

    __slots__ = ("_card", "_currency", "_destination", "_now")

    def __init__(self, card: RateCard) -> None:
        self._card = card
        self._currency = self._destination = ""
        self._now = 0

    def turn_to(self, currency: str, destination: str, now: int) -> None:
        """Answer for a message in this currency to this destination from here on."""
        self._currency, self._destination, self._now = currency, destination, now

    def __call__(self, sku: str) -> Micros | None:
        """The price of one unit, in micros of the message's currency; None where the card has none."""
        rate = self._card.find(self._currency, sku, self._destination, self._now)
        return Micros(rate.price) if rate is not None else None

    def price(self, quote: Quote) -> tuple[PricedLine, ...] | str:
        """Price a quote's lines, by its own destination where it names one; or name the sku that has no rate."""
        destination = quote.destination.lower() if quote.destination else self._destination
        return self._card.price(quote.lines, self._currency, destination, self._now)
