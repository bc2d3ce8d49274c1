"""A random history of what a provider tells: receipts, watermarks, writing, taps and words on consent, in chapters."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from typing import Any

from waypost.clock import SECOND, to_datetime
from waypost.plugin import (
    Address,
    ChannelEvent,
    ConsentChange,
    DeliveryUpdate,
    Engagement,
    InboundMessage,
    Media,
    Text,
)

CHAPTERS = 6
CHAPTER = 2 * SECOND
PEOPLE = ("+4915110000001", "+4915110000002")


@dataclass
class Send:
    """A message to somebody, and what its send comes to."""

    number: int
    chapter: int
    to: str
    fate: str
    provider_ids: tuple[str, ...]


@dataclass
class Fact:
    """Something that the provider tells from a chapter on; `about` is the send whose correlation it bears."""

    chapter: int
    event: ChannelEvent
    about: int | None = None


class History:
    """What came to pass at the provider."""

    def __init__(self, chance: random.Random, began: int) -> None:
        self.chance = chance
        self.began = began
        self.sends: list[Send] = []
        self.facts: list[Fact] = []
        self._times = list(range(1, 1_000))
        chance.shuffle(self._times)
        # Of some histories most is of one kind, and some providers leave most to their watermarks.
        every = ["sent", "sent", "delivered", "delivered", "read", "failed", "undelivered"]
        self._names, self._correlates = chance.choice([0.7, 1.0]), chance.choice([0.0, 0.4, 1.0])
        self._statuses = chance.choice([every, ["sent"], ["sent", "sent", "failed", "delivered"]])
        kinds = [
            (tell, chance.choice([1, 1, 5])) for tell in (self._receipt, self._watermark, self._words, self._consent)
        ]
        parts = chance.choice([1, 2])
        for chapter in range(CHAPTERS):
            for _ in range(chance.choice([0, 0, 1, 2])):
                fate = chance.choice(["answered", "answered", "lost", "refused"])
                ids = tuple(f"p-{len(self.sends)}.{part}" for part in range(parts))
                self.sends.append(Send(len(self.sends), chapter, chance.choice(PEOPLE), fate, ids))
            self._untimed: set[object] = set()
            for tell, _ in chance.choices(kinds, [weight for _, weight in kinds], k=10):
                tell(chapter)

    def moment(self, chapter: int, *, distinct: bool = False) -> Any:
        """When something was, that is told in this chapter: each distinct moment is another one."""
        within = self._times.pop() * 1_000 if distinct else self.chance.choice([0, SECOND // 2])
        return to_datetime(self.began + chapter * CHAPTER - within)

    def _add(self, chapter: int, event: ChannelEvent, about: int | None = None) -> None:
        self.facts.append(Fact(chapter, event, about))

    def _id(self) -> str:
        return f"e-{len(self.facts)}"

    def _time_of_word(self, chapter: int, about: object) -> Any:
        """None where the provider does not say: once in a chapter for each of those whose latest word counts."""
        if self.chance.random() < 0.4 and about not in self._untimed:
            self._untimed.add(about)
            return None
        return self.moment(chapter, distinct=True)

    def _receipt(self, chapter: int) -> None:
        chance = self.chance
        sends = [send for send in self.sends if send.fate != "refused"]
        if not sends:
            return
        send = chance.choice(sends)
        status = chance.choice(self._statuses)
        provider_id = chance.choice(send.provider_ids) if chance.random() < self._names else None
        about = send.number if provider_id is None or chance.random() < self._correlates else None
        update = DeliveryUpdate(
            event_id=self._id(),
            status=status,  # type: ignore[arg-type]
            provider_id=provider_id,
            recipient=chance.choice([None, Address("e164", send.to)]),
            occurred_at=chance.choice([None, self.moment(chapter)]),
        )
        self._add(chapter, update, about)

    def _watermark(self, chapter: int) -> None:
        update = DeliveryUpdate(
            event_id=self._id(),
            status=self.chance.choice(["sent", "delivered", "read"]),  # type: ignore[arg-type]
            recipient=Address("e164", self.chance.choice(PEOPLE)),
            watermark=self.moment(self.chance.randint(0, chapter)),
        )
        self._add(chapter, update)

    def _words(self, chapter: int) -> None:
        """Somebody writes, changes or takes back what they wrote, or taps on something."""
        chance = self.chance
        written = [item.event for item in self.facts if isinstance(item.event, InboundMessage)]
        written = [event for event in written if event.change == "new"]
        lot = chance.random()
        if lot < 0.4 or not written:
            self._add(chapter, self._message(chapter))
        elif lot < 0.8:
            said: Any = chance.choice(written)
            changed = replace(
                said,
                event_id=self._id(),
                content=Text(body=f"edited {len(self.facts)}"),
                change=chance.choice(["edit", "edit", "edit", "unsend"]),
                occurred_at=self._time_of_word(chapter, said.provider_id),
                **chance.choice([{}, {"more": (), "reply_to": None, "sender_name": None}]),
            )
            self._add(chapter, changed)
        else:
            tap = Engagement(
                event_id=self._id(),
                action=chance.choice(["postback", "referral", "reaction", "open"]),  # type: ignore[arg-type]
                sender=self._somebody(),
                occurred_at=chance.choice([None, self.moment(chapter, distinct=True)]),
            )
            self._add(chapter, tap)

    def _somebody(self) -> tuple[Address, ...]:
        number = self.chance.choice([0, 1])
        phone, user = Address("e164", PEOPLE[number]), Address("wa_user_id", f"u{number}")
        return self.chance.choice([(phone,), (phone, user), (user,)])

    def _message(self, chapter: int) -> InboundMessage:
        chance = self.chance
        picture = Media(kind="image", url="https://media.test/1")
        return InboundMessage(
            event_id=self._id(),
            provider_id=f"in-{len(self.facts)}",
            sender=self._somebody(),
            recipient=Address("e164", "+1555"),
            content=Text(body=f"written {len(self.facts)}"),
            sender_name=chance.choice([None, "Ann"]),
            reply_to=chance.choice([None, "in-0"]),
            more=chance.choice([(), (picture,)]),
            occurred_at=chance.choice([None, self.moment(chapter, distinct=True)]),
        )

    def _consent(self, chapter: int) -> None:
        person, scope = self.chance.choice(PEOPLE), self.chance.choice(["all", "7"])
        word = ConsentChange(
            event_id=self._id(),
            address=Address("e164", person),
            state=self.chance.choice(["opted_out", "opted_in"]),  # type: ignore[arg-type]
            scope=scope,
            occurred_at=self._time_of_word(chapter, (person, scope)),
        )
        self._add(chapter, word)
