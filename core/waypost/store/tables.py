"""The tables, the same on SQLite and PostgreSQL.

Times are microseconds UTC (`*_at`, `*_until`), money is micros, ids are prefixed UUIDv7, JSON is text. What is hot is
narrow: a message costs one row here, one per step, one ledger entry per step, and one event per thing that happened.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
    UniqueConstraint,
    text,
)

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

#: Ids and keys sort by code point on both databases.
_KEY = Text().with_variant(Text(collation="C"), "postgresql")


def _id(name: str = "id") -> Column[str]:
    return Column(name, _KEY, primary_key=True)


def _key(name: str, *, nullable: bool = False) -> Column[str]:
    return Column(name, _KEY, nullable=nullable)


def _ref(name: str, target: str) -> Column[str]:
    return Column(name, _KEY, ForeignKey(target), nullable=False)


def _text(name: str, default: str | None = "") -> Column[str]:
    return Column(name, Text, nullable=False, server_default=None if default is None else default)


def _int(name: str, *, nullable: bool = False, default: int | None = None) -> Column[int]:
    return Column(name, BigInteger, nullable=nullable, server_default=None if default is None else text(str(default)))


# ------------------------------------------------------------------------------------------ who pays, who calls

organization = Table(
    "organization",
    metadata,
    _id(),
    Column("name", Text, nullable=False, unique=True),
    _text("currency", None),
    _text("status", "active"),
    _int("created_at"),
    CheckConstraint("status IN ('active', 'suspended')", name="status"),
)

#: The four accounts of an organization in one row: what was funded is available, held or captured, to the micro.
balance = Table(
    "balance",
    metadata,
    Column("org_id", _KEY, ForeignKey("organization.id"), primary_key=True),
    _text("currency", None),
    _int("funded", default=0),
    _int("available", default=0),
    _int("held", default=0),
    _int("captured", default=0),
    _int("credit_limit", default=0),
    CheckConstraint("funded = available + held + captured", name="double_entry"),
    CheckConstraint("available + credit_limit >= 0", name="credit_limit"),
    CheckConstraint("held >= 0", name="held"),
    CheckConstraint("captured >= 0", name="captured"),
    CheckConstraint("credit_limit >= 0", name="limit"),
)

#: An entry's organization is not looked up in the database at each entry (on PostgreSQL that locks the organization's
#: row, and so writes to it); whoever posts changes the balance in the same transaction, which refers to it.
ledger_entry = Table(
    "ledger_entry",
    metadata,
    _id(),
    _key("org_id"),
    _text("kind", None),
    _text("from_account", None),
    _text("to_account", None),
    _int("amount"),
    _int("at"),
    _key("message_id", nullable=True),
    _int("step_no", nullable=True),
    _text("note"),
    CheckConstraint("amount > 0", name="amount"),
    CheckConstraint("from_account <> to_account", name="accounts"),
    CheckConstraint(
        "kind IN ('top_up', 'adjustment', 'hold', 'capture', 'release', 'late_capture', 'refund')", name="kind"
    ),
    sqlite_with_rowid=False,
)
Index(
    "uq_ledger_entry_once",
    ledger_entry.c.message_id,
    ledger_entry.c.step_no,
    ledger_entry.c.kind,
    unique=True,
    sqlite_where=text("kind IN ('hold', 'capture', 'release')"),
    postgresql_where=text("kind IN ('hold', 'capture', 'release')"),
)
Index(
    "ix_ledger_entry_corrections",
    ledger_entry.c.message_id,
    sqlite_where=text("kind IN ('late_capture', 'refund')"),
    postgresql_where=text("kind IN ('late_capture', 'refund')"),
)
#: Without the holds, which are found through their messages: accepting writes to as few places as it can.
Index(
    "ix_ledger_entry_others",
    ledger_entry.c.org_id,
    ledger_entry.c.id,
    sqlite_where=text("kind <> 'hold'"),
    postgresql_where=text("kind <> 'hold'"),
)

app = Table(
    "app",
    metadata,
    _id(),
    _ref("org_id", "organization.id"),
    _text("name", None),
    _text("status", "active"),
    _text("on_unknown", "hold"),
    _int("created_at"),
    UniqueConstraint("org_id", "name"),
    CheckConstraint("status IN ('active', 'suspended')", name="status"),
    CheckConstraint("on_unknown IN ('hold', 'resend', 'fallback')", name="on_unknown"),
)

api_key = Table(
    "api_key",
    metadata,
    _id(),
    _ref("app_id", "app.id"),
    Column("digest", _KEY, nullable=False, unique=True),
    _text("shown", None),
    _text("mode", "live"),
    _int("created_at"),
    _int("expires_at", nullable=True),
    _int("revoked_at", nullable=True),
    CheckConstraint("mode IN ('live', 'test')", name="mode"),
)
Index(None, api_key.c.app_id)

# ------------------------------------------------------------------------------------------ the operator's side

provider_app = Table(
    "provider_app",
    metadata,
    _id(),
    Column("name", Text, nullable=False, unique=True),
    _text("plugin", None),
    _text("settings", "{}"),
    _text("secrets", ""),
    _int("created_at"),
)

gateway = Table(
    "gateway",
    metadata,
    _id(),
    Column("name", Text, nullable=False, unique=True),
    _text("plugin", None),
    _text("channel", None),
    Column("provider_app_id", _KEY, ForeignKey("provider_app.id"), nullable=True),
    #: Who owns inbound messages; nobody's are kept but routed to no app.
    Column("app_id", _KEY, ForeignKey("app.id"), nullable=True),
    _key("account_ref", nullable=True),
    _text("settings", "{}"),
    _text("secrets", ""),
    _text("senders", "[]"),
    _text("mode", "live"),
    _text("status", "active"),
    _text("status_reason"),
    _int("rate_per_second", nullable=True),
    _int("concurrency", default=32),
    _int("receipt_window", default=259_200_000_000),
    _int("tokens", default=0),
    _int("tokens_at", default=0),
    _int("created_at"),
    CheckConstraint("status IN ('active', 'paused', 'disabled')", name="status"),
    CheckConstraint("mode IN ('live', 'test')", name="mode"),
)
Index(None, gateway.c.plugin, gateway.c.account_ref)

rate = Table(
    "rate",
    metadata,
    _id(),
    _ref("gateway_id", "gateway.id"),
    _text("currency", None),
    _text("prefix"),
    _text("sku", None),
    _int("price"),
    _int("cost", nullable=True),
    Column("cost_currency", Text, nullable=True),
    _int("valid_from"),
    _int("created_at"),
    UniqueConstraint("gateway_id", "currency", "prefix", "sku", "valid_from"),
    CheckConstraint("price >= 0", name="price"),
)

route = Table(
    "route",
    metadata,
    _id(),
    _ref("app_id", "app.id"),
    _text("channel", None),
    _text("prefix"),
    _text("gateway_ids", "[]"),
    Column("sender", Text, nullable=True),
    _int("created_at"),
    UniqueConstraint("app_id", "channel", "prefix"),
)

#: One row; raised by every change of what nodes keep in memory.
revision = Table("revision", metadata, Column("id", Integer, primary_key=True), _int("number", default=0))

#: The releases that may run on this schema, by the revision that each was made for.
supported_schema = Table("supported_schema", metadata, Column("revision", Text, primary_key=True))

node = Table(
    "node",
    metadata,
    _id(),
    _text("role", None),
    _text("channels", "[]"),
    _text("version", None),
    _int("started_at"),
    _int("seen_at"),
)

#: Which node holds a gateway's listening connection.
listener = Table(
    "listener",
    metadata,
    Column("gateway_id", _KEY, ForeignKey("gateway.id"), primary_key=True),
    _key("owner"),
    _int("lease_until"),
)

audit = Table(
    "audit",
    metadata,
    _id(),
    _int("at"),
    _text("actor", None),
    _text("action", None),
    _key("subject"),
    _text("detail", "{}"),
)

# ------------------------------------------------------------------------------------------ messages

message = Table(
    "message",
    metadata,
    _id(),
    _key("org_id"),
    _key("app_id"),
    _key("key_id"),
    _text("channel", None),
    _text("status", None),
    _text("recipient", None),
    _text("addresses", None),
    Column("sender", Text, nullable=True),
    _text("content", None),
    _text("options", "{}"),
    _text("currency", None),
    _int("held"),
    _int("captured", default=0),
    _text("mode", "live"),
    Column("error_code", Text, nullable=True),
    Column("error_detail", Text, nullable=True),
    Column("contradictory", Boolean, nullable=False, server_default=text("false")),
    Column("possible_duplicate", Boolean, nullable=False, server_default=text("false")),
    Column("request_id", Text, nullable=True),
    _int("created_at"),
    _int("updated_at"),
    _int("deadline"),
    _int("settled_at", nullable=True),
    sqlite_with_rowid=False,
)
Index(None, message.c.app_id, message.c.id)

step = Table(
    "step",
    metadata,
    _key("message_id"),
    _int("step_no"),
    _key("app_id"),
    _key("org_id"),
    _text("channel", None),
    _text("state", None),
    _text("status", None),
    _key("gateway_id"),
    _text("choices", None),
    _int("choice", default=0),
    _int("attempt", default=0),
    _int("tries", default=0),
    _int("claims", default=0),
    _int("lookups", default=0),
    _key("owner", nullable=True),
    _int("due_at"),
    _int("wake_at", nullable=True),
    _int("deadline"),
    _int("window_until", nullable=True),
    _int("held"),
    _int("captured", default=0),
    _int("settled_at", nullable=True),
    Column("content", Text, nullable=True),
    _text("until", "sent"),
    _int("after", nullable=True),
    PrimaryKeyConstraint("message_id", "step_no"),
    CheckConstraint("state IN ('waiting', 'queued', 'claimed', 'sending', 'unknown', 'sent', 'ended')", name="state"),
    CheckConstraint("captured >= 0 AND captured <= held", name="captured"),
    sqlite_with_rowid=False,
)
Index(
    "ix_step_queue",
    step.c.gateway_id,
    step.c.app_id,
    step.c.due_at,
    sqlite_where=text("state = 'queued'"),
    postgresql_where=text("state = 'queued'"),
)
Index(
    "ix_step_wake",
    step.c.wake_at,
    sqlite_where=text("wake_at IS NOT NULL"),
    postgresql_where=text("wake_at IS NOT NULL"),
)

#: Everything that happened to a message; its status is a pure function of this set.
event = Table(
    "event",
    metadata,
    _key("message_id"),
    _key("key"),
    _int("step_no"),
    _int("attempt"),
    _text("kind", None),
    _text("source", None),
    _key("gateway_id", nullable=True),
    _int("at"),
    _int("occurred_at", nullable=True),
    Column("code", Text, nullable=True),
    _text("data", "{}"),
    PrimaryKeyConstraint("message_id", "key"),
    sqlite_with_rowid=False,
)

#: Under which ids a provider knows an attempt.
provider_ref = Table(
    "provider_ref",
    metadata,
    _key("gateway_id"),
    _key("provider_id"),
    _key("message_id"),
    _int("step_no"),
    _int("attempt"),
    PrimaryKeyConstraint("gateway_id", "provider_id"),
    sqlite_with_rowid=False,
)
Index(None, provider_ref.c.message_id)

idempotency = Table(
    "idempotency",
    metadata,
    _key("app_id"),
    _key("key"),
    _text("fingerprint", None),
    _key("message_id"),
    _int("created_at"),
    PrimaryKeyConstraint("app_id", "key"),
    sqlite_with_rowid=False,
)
Index("ix_idempotency_created", idempotency.c.created_at)

# ------------------------------------------------------------------------------------------ what providers send us

delivery = Table(
    "delivery",
    metadata,
    _id(),
    _text("plugin", None),
    _key("gateway_id", nullable=True),
    _text("also"),
    _key("provider_app_id", nullable=True),
    _text("method", None),
    _text("url", None),
    _text("headers", "[]"),
    _text("body"),
    _text("encoding", "text"),
    _int("received_at"),
    _text("state", "stored"),
    _text("problem"),
    _int("tries", default=0),
    CheckConstraint("state IN ('stored', 'applied', 'failed')", name="state"),
)
Index(
    "ix_delivery_stored",
    delivery.c.id,
    sqlite_where=text("state = 'stored'"),
    postgresql_where=text("state = 'stored'"),
)
Index(
    "ix_delivery_failed",
    delivery.c.plugin,
    delivery.c.id,
    sqlite_where=text("state = 'failed'"),
    postgresql_where=text("state = 'failed'"),
)

#: Receipts for messages not known yet, and events nobody can place.
parked_event = Table(
    "parked_event",
    metadata,
    _key("gateway_id"),
    _key("event_id"),
    _key("status"),
    _key("provider_id", nullable=True),
    _key("correlation", nullable=True),
    _text("also"),
    _text("event", None),
    _int("received_at"),
    PrimaryKeyConstraint("gateway_id", "event_id", "status"),
)
Index(None, parked_event.c.gateway_id, parked_event.c.provider_id)
#: In which all have their turn.
Index(
    "ix_parked_event_turn",
    parked_event.c.received_at,
    parked_event.c.gateway_id,
    parked_event.c.event_id,
    parked_event.c.status,
)

#: Provider events that are not about the status of one of our messages, each kept once.
channel_event = Table(
    "channel_event",
    metadata,
    _key("gateway_id"),
    _key("event_id"),
    _text("kind", None),
    _key("message_id", nullable=True),
    _int("at"),
    _int("occurred_at", nullable=True),
    _text("data", "{}"),
    PrimaryKeyConstraint("gateway_id", "event_id"),
)
Index(None, channel_event.c.message_id)

inbound_message = Table(
    "inbound_message",
    metadata,
    _id(),
    _key("gateway_id"),
    _key("provider_id"),
    _key("app_id", nullable=True),
    _text("channel", None),
    _text("sender", None),
    _text("recipient", None),
    _text("content", None),
    Column("sender_name", Text, nullable=True),
    Column("reply_to", Text, nullable=True),
    _int("received_at"),
    _int("occurred_at", nullable=True),
    Column("unsent", Boolean, nullable=False, server_default=text("false")),
    _int("edited_at", nullable=True),
    Column("awaited", Boolean, nullable=False, server_default=text("false")),
    UniqueConstraint("gateway_id", "provider_id"),
)
Index(None, inbound_message.c.app_id, inbound_message.c.id)

#: What a gateway knows of an address: when it last wrote, whether it opted out.
conversation = Table(
    "conversation",
    metadata,
    _key("gateway_id"),
    _key("address"),
    _int("last_inbound_at", nullable=True),
    _text("consent", "{}"),
    PrimaryKeyConstraint("gateway_id", "address"),
    sqlite_with_rowid=False,
)

#: Until when what a gateway sent to an address is known to have got so far, for sends whose result is stored later.
watermark = Table(
    "watermark",
    metadata,
    _key("gateway_id"),
    _key("address"),
    _key("status"),
    _int("until"),
    _key("event_id"),
    _int("occurred_at", nullable=True),
    PrimaryKeyConstraint("gateway_id", "address", "status"),
    sqlite_with_rowid=False,
)
