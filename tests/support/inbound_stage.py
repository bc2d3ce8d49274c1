"""What tests of the inbox share: what somebody wrote, and what became of it."""

from __future__ import annotations

from sqlalchemy import Connection, text
from waypost.plugin import Address, InboundMessage, Text
from waypost.store import deliveries, inbound
from waypost.store.database import Database
from world import TO, Partner, World


async def states(database: Database) -> list[tuple[str, str]]:
    def work(conn: Connection) -> list[tuple[str, str]]:
        return [tuple(row) for row in conn.execute(text("SELECT state, problem FROM delivery ORDER BY id"))]

    return await database.read(work)


async def read_again(world: World, plugin: str = "fake") -> int:
    """Let the node parse what failed once more, as operators do after a fix; return how many do not fail now."""
    queued = await world.database.write(lambda conn: deliveries.queue_again(conn, plugin))
    await world.node.inbox.tend_once(left_behind=-1)
    return queued - sum(state == "failed" for state, _ in await states(world.database))


async def others(database: Database) -> list[tuple[str, str]]:
    def work(conn: Connection) -> list[tuple[str, str]]:
        rows = conn.execute(text("SELECT gateway_id, kind FROM channel_event ORDER BY event_id"))
        return [tuple(row) for row in rows]

    return await database.read(work)


def wrote(provider_id: str = "in-1", body: str = "Hi", event_id: str | None = None, **fields: object) -> InboundMessage:
    return InboundMessage(
        **{  # type: ignore[arg-type]
            "event_id": event_id or f"inbound:{provider_id}",
            "provider_id": provider_id,
            "sender": (Address("e164", TO), Address("wa_user_id", "u1")),
            "recipient": Address("e164", "+1555"),
            "content": Text(body=body),
        }
        | fields
    )


async def inbox_of(world: World, partner: Partner) -> list[inbound.Inbound]:
    return await world.database.read(lambda conn: inbound.page(conn, partner.app.id, "", 100))


async def owned(world: World) -> Partner:
    """A partner whose app owns its gateway."""
    org = await world.organization()
    app = await world.app(org)
    gateway = await world.gateway(app_id=app.id)
    return Partner(org, app, await world.key(app), (gateway,))
