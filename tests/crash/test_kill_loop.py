"""Any node may be killed at any moment: nothing accepted is lost, nothing is sent twice, every cent adds up.

Judged by journals outside the gateway: what the clients were told, and what the provider saw.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import socket
import sys
import uuid
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest
from sqlalchemy import Connection, text
from waypost import access, credit, vault
from waypost.ids import new_id
from waypost.plugin.settings import split_secrets
from waypost.store import apps, gateways, keys, ledger, migrate, organizations, rates
from waypost.store.apps import App
from waypost.store.database import Database
from waypost.store.gateways import Gateway
from waypost.store.keys import ApiKey
from waypost.store.opening import open_database
from waypost.store.organizations import Organization
from waypost.store.rates import Rate, Route

CYCLES = {"sqlite": 60, "postgres": 20}
CLIENTS = 8
PRICE = 50_000
HERE = Path(__file__).parent


@dataclass
class Rig:
    """The processes and what the clients were told."""

    settings: dict[str, Any]
    key: str
    launcher: asyncio.subprocess.Process
    journal: Path
    acknowledged: dict[str, str] = field(default_factory=dict)
    over: bool = False
    pid: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.settings['port']}"

    async def start(self) -> None:
        assert self.launcher.stdin is not None
        assert self.launcher.stdout is not None
        self.launcher.stdin.write(json.dumps({"start": self.settings}).encode() + b"\n")
        await self.launcher.stdin.drain()
        answer = json.loads(await asyncio.wait_for(self.launcher.stdout.readline(), 30))
        self.pid = int(answer["pid"])
        assert answer["ready"], "the gateway did not come up again"

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)
        self.pid = 0

    async def send_forever(self, number: int) -> None:
        """One client: sends, and repeats what it got no answer to, under the same idempotency key."""
        chosen = random.Random(number)
        async with aiohttp.ClientSession() as session:
            while not self.over:
                key = uuid.uuid4().hex
                body = {"to": f"+1{chosen.randrange(2_000_000_000, 9_999_999_999)}", "text": f"Message {key}"}
                while True:
                    identifier = await self._try(session, key, body)
                    if identifier is not None:
                        self.acknowledged[key] = identifier
                        break
                    await asyncio.sleep(0.02)

    async def _try(self, session: aiohttp.ClientSession, key: str, body: dict[str, str]) -> str | None:
        headers = {"Authorization": f"Bearer {self.key}", "Idempotency-Key": key}
        timeout = aiohttp.ClientTimeout(total=3)
        try:
            async with session.post(f"{self.url}/api/send-sms.php", json=body, headers=headers, timeout=timeout) as got:
                answer = await got.json()
                assert got.status in (200, 503), answer
                return str(answer["id"]) if got.status == 200 else None
        except (aiohttp.ClientError, TimeoutError):
            return None

    def seen(self) -> list[dict[str, Any]]:
        """What the provider saw, from its own journal."""
        return [json.loads(line) for line in self.journal.read_text().splitlines()]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _set_up(conn: Connection, sealer: vault.Vault, simulator: dict[str, Any], secret: access.NewKey, now: int) -> None:
    from waypost_sms_twilio.settings import TwilioSettings

    public, private = split_secrets(TwilioSettings, simulator["account_settings"])
    org = Organization(new_id("org"), "org", "SGD", "active", now)
    app = App(new_id("app"), org.id, "app", "active", "hold", now)
    gateway_id = new_id("gw")
    organizations.add(conn, org, 0)
    apps.add(conn, app)
    keys.add(conn, ApiKey(new_id("key"), app.id, secret.digest, secret.shown, "live", now, None, None))
    gateways.add(
        conn,
        Gateway(
            id=gateway_id,
            name="twilio",
            plugin="sms_twilio",
            channel="SMS",
            provider_app_id=None,
            app_id=app.id,
            account_ref=None,
            settings=orjson.dumps(public).decode(),
            secrets=sealer.seal(orjson.dumps(private).decode(), f"gateway/{gateway_id}"),
            senders=tuple(simulator["senders"]),
            mode="live",
            status="active",
            status_reason="",
            rate_per_second=None,
            concurrency=16,
            receipt_window=259_200_000_000,
            created_at=now,
        ),
    )
    rates.add_rate(
        conn,
        Rate(
            id=new_id("rate"),
            gateway_id=gateway_id,
            currency="SGD",
            prefix="",
            sku="sms",
            price=PRICE,
            cost=None,
            cost_currency=None,
            valid_from=0,
            created_at=now,
        ),
    )
    rates.put_route(
        conn,
        Route(
            id=new_id("rt"),
            app_id=app.id,
            channel="SMS",
            prefix="",
            gateway_ids=(gateway_id,),
            sender=None,
            created_at=now,
        ),
    )
    balances = ledger.lock_balances(conn, [org.id])
    ledger.post(conn, [credit.move("top_up", org.id, 10**12, now)], balances)
    rates.raise_revision(conn)


@pytest.fixture
async def rig(database: Database, tmp_path: Path) -> AsyncIterator[Rig]:
    journal = tmp_path / "provider.jsonl"
    journal.touch()
    simulator = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "waypost_sms_twilio.simulator", "--port", "0", "--journal", str(journal),
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    assert simulator.stdout is not None
    ready = json.loads(await asyncio.wait_for(simulator.stdout.readline(), 30))
    vault_key, secret, port = vault.new_key(), access.make_key("live"), _free_port()
    await database.write(lambda conn: _set_up(conn, vault.Vault([vault_key]), ready, secret, database.clock.now()))
    settings = {
        "database_url": database.url,
        "channels": ["sms_twilio"],
        "public_url": f"http://127.0.0.1:{port}",
        "port": port,
        "master_keys": [vault_key],
        "poll": 0.1,
        "lease": 2.0,
    }
    launcher = await asyncio.create_subprocess_exec(
        sys.executable, str(HERE / "launcher.py"), stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL, limit=1 << 20,
    )  # fmt: skip
    rig = Rig(settings, secret.secret, launcher, journal)
    yield rig
    rig.over = True
    if rig.pid:
        rig.kill()
    for process in (launcher, simulator):
        if process.returncode is None:
            process.kill()
        await process.wait()


def _counts(conn: Connection) -> tuple[dict[str, str], dict[str, tuple[int, int]], int]:
    statuses = {row[0]: row[1] for row in conn.execute(text("SELECT id, status FROM message"))}
    money = {row[0]: (row[1], row[2]) for row in conn.execute(text("SELECT org_id, held, captured FROM balance"))}
    open_steps = conn.execute(
        text(
            "SELECT (SELECT COUNT(*) FROM step WHERE state IN ('queued', 'claimed', 'sending'))"
            " + (SELECT COUNT(*) FROM delivery WHERE state = 'stored')"
        )
    ).scalar_one()
    return statuses, money, int(open_steps)


def _still_open(conn: Connection) -> dict[str, Any]:
    """What keeps the gateway at work, for whoever reads a failure."""
    open_steps = "FROM step WHERE state IN ('queued', 'claimed', 'sending')"
    concerned = f"WHERE message_id IN (SELECT message_id {open_steps})"
    asked = {
        "step": f"SELECT message_id, state, attempt, tries, claims, lookups, owner, due_at, wake_at {open_steps}",
        "event": f"SELECT message_id, key, kind, source, at FROM event {concerned}",
        "delivery": "SELECT id, received_at FROM delivery WHERE state = 'stored'",
    }
    found = {name: conn.execute(text(question)).fetchmany(20) for name, question in asked.items()}
    return {name: [dict(row._mapping) for row in rows] for name, rows in found.items()}


async def _quiet(database_url: str) -> None:
    """Wait until everything was sent or is known to be unknown, and every stored delivery is applied.

    A receipt that a killed gateway did not take, and that the provider gave up repeating, is gone: that message stays
    SENT until its receipt window closes. A send that was cut off has a minute to report back before it is looked up;
    one that the provider never saw is then tried again, some seconds later.
    """
    database = await open_database(database_url)
    try:
        async with asyncio.timeout(120):
            while (await database.read(_counts))[2]:  # noqa: ASYNC110 - another process changes it
                await asyncio.sleep(0.2)
    except TimeoutError:
        pytest.fail(f"still at work after two minutes: {await database.read(_still_open)}")
    finally:
        await database.close()


@pytest.mark.timeout(400)
@pytest.mark.xdist_group("crash")
async def test_kill_9_loses_none_and_doubles_none(rig: Rig, database: Database) -> None:
    cycles = CYCLES["sqlite" if database.url.startswith("sqlite") else "postgres"]
    chosen = random.Random(20261122)
    if database.url.startswith("sqlite"):
        await database.close()  # one process at a time writes to the file
    clients = [asyncio.create_task(rig.send_forever(number)) for number in range(CLIENTS)]
    for _ in range(cycles):
        await rig.start()
        await asyncio.sleep(chosen.uniform(0.02, 0.35))
        rig.kill()
    await rig.start()
    rig.over = True
    await asyncio.wait_for(asyncio.gather(*clients), 30)
    await _quiet(rig.settings["database_url"])
    rig.kill()

    after = await open_database(rig.settings["database_url"])
    try:
        statuses, money, _ = await after.read(_counts)
        wrong = await after.read(ledger.discrepancies)
        schema = await after.read(migrate.current_revision)
    finally:
        await after.close()
    _judge(rig, cycles, statuses, money)
    assert wrong == []
    assert schema == migrate.wanted_revision()


def _judge(rig: Rig, cycles: int, statuses: dict[str, str], money: dict[str, tuple[int, int]]) -> None:
    seen = Counter(entry["correlation"].split(".")[0] for entry in rig.seen())
    assert len(rig.acknowledged) > cycles, "the clients hardly got anything through; the test shows nothing"
    lost = {identifier for identifier in rig.acknowledged.values() if identifier not in statuses}
    assert lost == set(), "accepted, then lost"
    doubled = {identifier: count for identifier, count in seen.items() if count > 1}
    assert doubled == {}, "sent twice"
    assert len(set(rig.acknowledged.values())) == len(rig.acknowledged), "two keys, one message"
    by_status = Counter(statuses.values())
    # An unknown one that the provider's records do not hold is queued again, and may be on its way.
    pending = {"UNKNOWN", "QUEUED", "SENDING"}
    assert set(by_status) <= {"DELIVERED", "SENT"} | pending, by_status
    never_seen = {identifier for identifier, status in statuses.items() if status not in pending} - seen.keys()
    assert never_seen == set(), "told as sent, but the provider never saw it"
    ((held, captured),) = money.values()
    assert captured == PRICE * by_status["DELIVERED"], "charged for what was delivered, and for nothing else"
    undecided = by_status["SENT"] + sum(by_status[status] for status in pending)
    assert held == PRICE * undecided, "what is not known yet stays held"
