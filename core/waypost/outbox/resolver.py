"""The resolver: asks providers what became of attempts whose outcome is unknown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace

from waypost.clock import HOUR, MINUTE, SECOND, to_datetime
from waypost.host.accounts import Accounts, CredentialsUnusableError
from waypost.host.dispatch import PluginFaultError
from waypost.lifecycle.evidence import Evidence, Kind, core_key
from waypost.log import logger
from waypost.outbox import attempt as attempts
from waypost.outbox.retry import decide
from waypost.outbox.sweeper import Room
from waypost.plugin.errors import ChannelError, Transient
from waypost.plugin.types import LookupResult, SendAttempt
from waypost.progress.case import Change, Report
from waypost.routing import Directory
from waypost.store import events, steps
from waypost.store.database import Database
from waypost.store.group_commit import GroupCommit
from waypost.store.messages import Message
from waypost.store.steps import Step

#: The pauses after each lookup; the last one repeats until the receipt window closes.
SCHEDULE = (5 * SECOND, 30 * SECOND, 90 * SECOND, 5 * MINUTE, 30 * MINUTE, 2 * HOUR, 6 * HOUR)

_LOG = logger()


class Resolver:
    """Looks unknown outcomes up and reports what it finds."""

    def __init__(
        self,
        database: Database,
        accounts: Accounts,
        directory: Callable[[], Directory],
        results: GroupCommit[Report, Change | None],
    ) -> None:
        self._database = database
        self._accounts = accounts
        self._directory = directory
        self._results = results
        self._asking: Counter[str] = Counter()

    def room(self) -> Room:
        """How many more may be looked up now, by gateway."""
        room: dict[str, int | None] = {}
        for gateway in self._directory().gateways.values():
            plugin = self._accounts.plugin(gateway)
            if plugin is not None:
                left = max(0, gateway.concurrency - self._asking[gateway.id])
                room[gateway.id] = left if "lookup" in plugin.hooks else None
        return room

    async def resolve(self, step: Step, message: Message) -> None:
        """Look one up; report what is known now, or say when to look again."""
        self._asking[step.gateway_id] += 1
        try:
            await self._resolve(step, message)
        finally:
            self._asking[step.gateway_id] -= 1

    async def _resolve(self, step: Step, message: Message) -> None:
        try:
            began = await self._open_attempt(step)
            answer = await self._ask(step, message, began) if began is not None else None
            if began is not None and answer is not None and not await self._is_another(began, answer):
                for found in self._reports(step, began, answer):
                    await self._results.submit(found)
                return
        except (ChannelError, PluginFaultError, CredentialsUnusableError, ValueError, KeyError) as problem:
            _LOG.error("lookup.failed", message=step.message_id, gateway=step.gateway_id, problem=str(problem))
        await self._look_again(step)

    async def _open_attempt(self, step: Step) -> Evidence | None:
        """The beginning of the latest attempt of which nobody knows what became."""
        history = await self._database.read(lambda conn: events.of_messages(conn, [step.message_id]))
        own = [item for item in history.get(step.message_id, ()) if item.step_no == step.step_no]
        unknown = {item.attempt for item in own if item.kind == "unknown"}
        unknown -= {item.attempt for item in own if item.kind == "not_sent"}
        began = [item for item in own if item.kind == "sending" and item.attempt in unknown]
        return max(began, key=lambda item: item.attempt, default=None)

    async def _ask(self, step: Step, message: Message, began: Evidence) -> LookupResult | None:
        directory = self._directory()
        gateway = directory.gateways[began.gateway_id or step.gateway_id]
        opened = self._accounts.account(gateway, directory.provider_apps.get(gateway.provider_app_id or ""))
        await self._accounts.ready(opened)
        ref = events.AttemptRef.of(began)
        asked = SendAttempt(
            message=attempts.outbound(step, message, opened),
            correlation=str(ref),
            started_at=to_datetime(began.at),
        )
        found = await opened.plugin.lookup(self._accounts.context(opened, correlation=str(ref)), asked)
        if found is None or not found.found:
            return found
        known_as = attempts.known_by(found.provider_ids, opened.plugin, asked.message, began.at, ref)
        return replace(found, provider_ids=known_as)

    async def _is_another(self, began: Evidence, answer: LookupResult) -> bool:
        """Whether what was found is known to be a different attempt: the same text to the same number, say."""
        if not answer.provider_ids:
            return False
        pairs = {(began.gateway_id or "", provider_id) for provider_id in answer.provider_ids}
        known = await self._database.read(lambda conn: events.refs(conn, pairs))
        return any(ref != events.AttemptRef.of(began) for ref in known.values())

    async def _look_again(self, step: Step) -> None:
        pause = SCHEDULE[min(step.lookups, len(SCHEDULE) - 1)]
        due_at = self._database.clock.now() + pause
        wake_at = min(due_at, step.window_until or due_at)
        await self._database.write(
            lambda conn: steps.postpone_lookup(
                conn,
                step.message_id,
                step.step_no,
                attempt=step.attempt,
                lookups=step.lookups + 1,
                due_at=due_at,
                wake_at=wake_at,
            )
        )

    def _reports(self, step: Step, began: Evidence, answer: LookupResult) -> list[Report]:
        now = self._database.clock.now()
        if not answer.found:
            # Not at once, and not for ever the same way: to that provider it is one more failure.
            choices, left_out = attempts.choices_of(step, self._directory())
            retry = decide(step, choices, Transient(), now, left_out)
            return [Report(_looked_up(began, "not_sent", now, None), retry)]
        found = [Report(_looked_up(began, "sent", now, None), provider_ids=answer.provider_ids)]
        if answer.status != "accepted" and answer.status != "sent":
            found.append(Report(_looked_up(began, answer.status, now, answer.provider_code)))
        return found


def _looked_up(began: Evidence, kind: Kind, now: int, code: str | None) -> Evidence:
    return Evidence(
        message_id=began.message_id,
        key=f"lookup:{core_key(began.step_no, began.attempt, kind)}",
        step_no=began.step_no,
        attempt=began.attempt,
        kind=kind,
        source="lookup",
        gateway_id=began.gateway_id,
        at=now,
        code=code,
    )
