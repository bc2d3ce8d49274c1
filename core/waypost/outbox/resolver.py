"""The resolver: asks providers what became of attempts whose outcome is unknown."""

from __future__ import annotations

from collections.abc import Callable

from waypost.clock import HOUR, MINUTE, SECOND, to_datetime
from waypost.host.accounts import Accounts, CredentialsUnusableError
from waypost.host.dispatch import PluginFaultError
from waypost.lifecycle.evidence import Evidence, Kind, core_key
from waypost.log import logger
from waypost.outbox import attempt as attempts
from waypost.outbox.sweeper import first_evidence
from waypost.plugin.errors import ChannelError
from waypost.plugin.types import LookupResult, SendAttempt
from waypost.progress.case import Change, Report, Retry
from waypost.routing import Directory
from waypost.store import events, steps
from waypost.store.database import Database
from waypost.store.group_commit import GroupCommit
from waypost.store.messages import Message
from waypost.store.steps import Step

#: The pauses between lookups; the last one repeats until the receipt window closes.
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

    def possible(self) -> frozenset[str]:
        """The gateways whose plugins can look up."""
        found = set()
        for gateway in self._directory().gateways.values():
            plugin = self._accounts.plugin(gateway)
            if plugin is not None and "lookup" in plugin.hooks:
                found.add(gateway.id)
        return frozenset(found)

    async def resolve(self, step: Step, message: Message) -> None:
        """Look one up; report what is known now, or say when to look again."""
        answer: LookupResult | None = None
        try:
            answer = await self._ask(step, message)
        except (ChannelError, PluginFaultError, CredentialsUnusableError, ValueError, KeyError) as problem:
            _LOG.error("lookup.failed", message=step.message_id, gateway=step.gateway_id, problem=str(problem))
        if answer is None or await self._is_another(step, answer):
            await self._look_again(step)
            return
        for found in self._reports(step, answer):
            await self._results.submit(found)

    async def _ask(self, step: Step, message: Message) -> LookupResult | None:
        directory = self._directory()
        gateway = directory.gateways[step.gateway_id]
        opened = self._accounts.account(gateway, directory.provider_apps.get(gateway.provider_app_id or ""))
        await self._accounts.ready(opened)
        history = await self._database.read(lambda conn: events.of_messages(conn, [step.message_id]))
        began = first_evidence(history.get(step.message_id, []), step, "sending")
        assert began is not None, "an unknown outcome has an attempt that began"
        ref = events.AttemptRef(step.message_id, step.step_no, step.attempt)
        asked = SendAttempt(
            message=attempts.outbound(step, message, opened),
            correlation=str(ref),
            started_at=to_datetime(began.at),
        )
        return await opened.plugin.lookup(self._accounts.context(opened, correlation=str(ref)), asked)

    async def _is_another(self, step: Step, answer: LookupResult) -> bool:
        """Whether what was found is known to be a different attempt: the same text to the same number, say."""
        if not answer.provider_ids:
            return False
        pairs = {(step.gateway_id, provider_id) for provider_id in answer.provider_ids}
        known = await self._database.read(lambda conn: events.refs(conn, pairs))
        mine = events.AttemptRef(step.message_id, step.step_no, step.attempt)
        return any(ref != mine for ref in known.values())

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

    def _reports(self, step: Step, answer: LookupResult) -> list[Report]:
        now = self._database.clock.now()
        if not answer.found:
            retry = Retry(due_at=now, choice=step.choice, tries=step.tries)
            return [Report(_looked_up(step, "not_sent", now, None), retry)]
        found = [Report(_looked_up(step, "sent", now, None), provider_ids=answer.provider_ids)]
        if answer.status != "accepted" and answer.status != "sent":
            found.append(Report(_looked_up(step, answer.status, now, answer.provider_code)))
        return found


def _looked_up(step: Step, kind: Kind, now: int, code: str | None) -> Evidence:
    return Evidence(
        message_id=step.message_id,
        key=f"lookup:{core_key(step.step_no, step.attempt, kind)}",
        step_no=step.step_no,
        attempt=step.attempt,
        kind=kind,
        source="lookup",
        gateway_id=step.gateway_id,
        at=now,
        code=code,
    )
