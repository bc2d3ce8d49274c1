"""Telling: what the demo shows, as text for people or as one JSON object a line for scripts."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from waypost_server.demo.orders import Delivered, Order
from waypost_server.demo.stage import CREDIT, CURRENCY, Stage


class Telling(Protocol):
    """Whoever is told what happens."""

    def ready(self, stage: Stage) -> None:
        """Everything runs."""

    def message(self, told: Delivered) -> None:
        """A message arrived, or did not."""

    def afterwards(self, stage: Stage, sent: Sequence[Order], *, serving: bool) -> None:
        """Everything has been sent."""

    def failed(self, log: Path) -> None:
        """Something did not arrive; this log says more."""


class JsonLines:
    """One JSON object a line, and nothing else."""

    def ready(self, stage: Stage) -> None:
        """Tell the URL and the main app's key."""
        self._line({"event": "ready", "url": stage.url, "key": stage.key})

    def message(self, told: Delivered) -> None:
        """Tell a message's status and money; a refused one has no id."""
        explained = told.explained
        self._line(
            {
                "event": "message",
                "api": told.order.api,
                "channel": told.order.channel,
                "plugin": told.order.actor.plugin.id,
                "id": explained.get("id"),
                "status": explained.get("status", "REFUSED"),
                "held": _number(explained.get("held", "0")),
                "captured": _number(explained.get("captured", "0")),
                "currency": CURRENCY,
            }
        )

    def afterwards(self, stage: Stage, sent: Sequence[Order], *, serving: bool) -> None:
        """Tell nothing: scripts have what they need."""

    def failed(self, log: Path) -> None:
        """Say on standard error where the log is."""
        sys.stderr.write(f"Not every message arrived; {log} says more.\n")

    @staticmethod
    def _line(told: dict[str, Any]) -> None:
        sys.stdout.write(json.dumps(told) + "\n")
        sys.stdout.flush()


class Words:
    """Text for people."""

    def ready(self, stage: Stage) -> None:
        """Tell what is running."""
        self._say(f"Waypost is at {stage.url}, with an organization that has {CREDIT} {CURRENCY} of credit.")
        for actor in stage.actors:
            where = f"{actor.plugin.info.channel:10} {actor.plugin.id:16} simulated at {actor.simulator.base_url}"
            self._say(f"  {where}, app {actor.app}")
        for name, reason in stage.absent.items():
            self._say(f"  takes no part: {name} ({reason})")
        self._say()

    def message(self, told: Delivered) -> None:
        """Tell a message's timeline and money."""
        order = told.order
        title = f"{order.channel} through {order.actor.plugin.id}, by the {order.api} API"
        if told.problem:
            self._say(f"✗ {title}: refused, {told.problem}\n")
            return
        explained = told.explained
        mark = "✓" if told.arrived else "✗"
        self._say(f"{mark} {title}: {explained['status']}  {explained['id']}")
        for line in explained["timeline"]:
            self._say(f"    {line['at'][11:23]}  {line['text']}")
        self._say(
            f"    held {explained['held']}, captured {explained['captured']} {explained['currency']};"
            f" left {told.balance['available']} {told.balance['currency']}\n"
        )

    def afterwards(self, stage: Stage, sent: Sequence[Order], *, serving: bool) -> None:
        """Tell how to go on by hand."""
        if not serving:
            return
        self._say("Try it yourself:\n")
        for order in sent:
            self._say(order.curl(stage.url) + "\n")
        for path in ("/partner/messages?limit=5", "/partner/message/MESSAGE_ID", "/partner/balance"):
            self._say(f"curl -H 'x-api-key: {stage.key}' '{stage.url}{path}'")
        for path in ("/healthz", "/readyz", "/metrics"):
            self._say(f"curl {stage.url}{path}")
        self._say("\nOther recipients make the simulated providers do other things:")
        for actor in stage.actors:
            some = [f"{recipient} {outcome.value}" for recipient, outcome in list(actor.simulator.magic.items())[:4]]
            if some:
                self._say(f"  {actor.plugin.id}: {', '.join(some)}")
        self._say("\nServing until Ctrl-C.")

    def failed(self, log: Path) -> None:
        """Say where the log is."""
        sys.stdout.flush()
        sys.stderr.write(f"Not every message arrived; {log} says more.\n")

    @staticmethod
    def _say(text: str = "") -> None:
        sys.stdout.write(text + "\n")
        sys.stdout.flush()


def _number(text: str) -> float | int:
    """A decimal text as a JSON number, exact to its six places."""
    return float(text) if "." in text else int(text)
