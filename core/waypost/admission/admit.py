"""The admitting transaction: many candidates, one commit, a verdict each.

Standing of key, app and organization, idempotency, and credit are decided here, inside the transaction, in the order
of arrival. Whoever is refused leaves nothing behind.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sqlalchemy import Connection

from waypost.access import standing_refusal
from waypost.admission.candidate import Admitted, Candidate, Verdict
from waypost.refusals import IdempotencyConflict, InsufficientCredit, OrgNotFound
from waypost.store import admissions, events, messages
from waypost.store.ledger import Balance


def admit(conn: Connection, candidates: Sequence[Candidate]) -> list[Verdict]:
    """Decide on the candidates in order and write those that are admitted."""
    verdicts: dict[int, Verdict] = {}
    standings, balances = admissions.lock(
        conn, {item.message.key_id for item in candidates}, {item.message.org_id for item in candidates}
    )
    for number, item in enumerate(candidates):
        refusal = standing_refusal(standings.get(item.message.key_id), item.message.created_at)
        if refusal is not None:
            verdicts[number] = refusal

    _replay_earlier(conn, candidates, verdicts)
    admitted, repeats = _affordable(candidates, balances, verdicts)
    admitted = _claim_keys(conn, admitted, verdicts)
    if admitted:
        _write(conn, [item for _, item in admitted])
    for number, item in admitted:
        verdicts[number] = Admitted(item.message)
    for number, first in repeats.items():
        verdicts[number] = _repeat(candidates[number], candidates[first], verdicts[first])
    return [verdicts[number] for number in range(len(candidates))]


def admit_at_once(conn: Connection, candidates: Sequence[Candidate]) -> list[Verdict] | None:
    """Admit all of them in one statement; None where that cannot be done, with nothing written."""
    rows = [row for item in candidates for row in item.rows]
    if len(rows) > admissions.MAX_ROWS:
        return None
    latest = max(item.message.created_at for item in candidates)
    callers = admissions.Callers.of([item.message for item in candidates])
    if not admissions.write(conn, rows, callers, latest):
        return None
    return [Admitted(item.message) for item in candidates]


def _write(conn: Connection, admitted: Sequence[Candidate]) -> None:
    """Store those that were found good one by one, and whose idempotency keys are stored already."""
    rows = [admissions.without_key(row) for item in admitted for row in item.rows]
    for start in range(0, len(rows), admissions.MAX_ROWS):
        if not admissions.write(conn, rows[start : start + admissions.MAX_ROWS], admissions.Callers(), 0):
            raise RuntimeError("credit that was locked and sufficed did not suffice when it was held")


def _replay_earlier(conn: Connection, candidates: Sequence[Candidate], verdicts: dict[int, Verdict]) -> None:
    """Answer those whose idempotency key was used before this batch."""
    keyed = {
        number: (item.message.app_id, item.idempotency_key)
        for number, item in enumerate(candidates)
        if item.idempotency_key is not None and number not in verdicts
    }
    if not keyed:
        return
    records = events.idempotency_records(conn, keyed.values())
    found = messages.get_many(conn, {record.message_id for record in records.values()})
    for number, pair in keyed.items():
        record = records.get(pair)
        if record is not None:
            verdicts[number] = _replay(candidates[number], record, found.get(record.message_id))


def _affordable(
    candidates: Sequence[Candidate], balances: Mapping[str, Balance], verdicts: dict[int, Verdict]
) -> tuple[list[tuple[int, Candidate]], dict[int, int]]:
    """Those of the undecided for whom there is credit; and who repeats the idempotency key of which of them.

    Whoever is refused has not used their key up, so that another request may have it.
    """
    spendable = {org_id: balance.spendable for org_id, balance in balances.items()}
    admitted: list[tuple[int, Candidate]] = []
    firsts: dict[tuple[str, str | None], int] = {}
    repeats: dict[int, int] = {}
    for number, item in enumerate(candidates):
        if number in verdicts:
            continue
        pair = item.message.app_id, item.idempotency_key
        if item.idempotency_key is not None and pair in firsts:
            repeats[number] = firsts[pair]
            continue
        org_id, held = item.message.org_id, item.message.held
        if org_id not in spendable:
            verdicts[number] = OrgNotFound()
        elif held > spendable[org_id]:
            verdicts[number] = InsufficientCredit()
        else:
            spendable[org_id] -= held
            firsts[pair] = number
            admitted.append((number, item))
    return admitted, repeats


def _repeat(item: Candidate, first: Candidate, verdict: Verdict) -> Verdict:
    if item.fingerprint != first.fingerprint:
        return IdempotencyConflict()
    return Admitted(verdict.message, replayed=True) if isinstance(verdict, Admitted) else verdict


def _claim_keys(
    conn: Connection, admitted: list[tuple[int, Candidate]], verdicts: dict[int, Verdict]
) -> list[tuple[int, Candidate]]:
    """Take the idempotency keys of those to be admitted; one that another node took meanwhile is replayed."""
    keyed = {
        (item.message.app_id, item.idempotency_key): number
        for number, item in admitted
        if item.idempotency_key is not None
    }
    if not keyed:
        return admitted
    by_number = dict(admitted)
    records = [
        events.IdempotencyRecord(
            *pair, by_number[number].fingerprint, by_number[number].message.id, by_number[number].message.created_at
        )
        for pair, number in keyed.items()
    ]
    lost = keyed.keys() - events.claim_idempotency(conn, records)
    if not lost:
        return admitted
    existing = events.idempotency_records(conn, lost)
    stored = messages.get_many(conn, {record.message_id for record in existing.values()})
    for pair in lost:
        number, record = keyed[pair], existing[pair]
        verdicts[number] = _replay(by_number[number], record, stored.get(record.message_id))
    return [(number, item) for number, item in admitted if number not in verdicts]


def _replay(item: Candidate, record: events.IdempotencyRecord, message: messages.Message | None) -> Verdict:
    if record.fingerprint != item.fingerprint or message is None:
        return IdempotencyConflict()
    return Admitted(message, replayed=True)
