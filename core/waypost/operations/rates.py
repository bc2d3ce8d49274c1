"""Rate cards: what a gateway's messages cost partners, and what they cost the operator."""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection

from waypost.ids import new_id
from waypost.money import format_amount
from waypost.operations import card_warnings, references, words
from waypost.operations.errors import ConflictError, InvalidArgumentError, OperationError
from waypost.operations.operator import Operator
from waypost.operations.registry import operation
from waypost.store import gateways, rates
from waypost.store.gateways import Gateway
from waypost.store.rates import Rate

MOST_IMPORTED = 50_000
_COLUMNS = frozenset({"currency", "prefix", "sku", "price", "cost", "cost_currency", "valid_from"})
_NEEDED = frozenset({"sku", "price"})


def shown(row: Rate, gateway: str) -> dict[str, Any]:
    """A rate as it is shown."""
    return {
        "id": row.id,
        "gateway": gateway,
        "currency": row.currency,
        "prefix": row.prefix,
        "sku": row.sku,
        "price": format_amount(row.price),
        "cost": None if row.cost is None else format_amount(row.cost),
        "cost_currency": row.cost_currency,
        "valid_from": words.shown_moment(row.valid_from),
    }


@operation("rates.add")
async def add(
    operator: Operator,
    *,
    gateway: str,
    currency: str,
    sku: str,
    price: str,
    prefix: str = "",
    cost: str | None = None,
    cost_currency: str | None = None,
    valid_from: str = "now",
) -> dict[str, Any]:
    """Put a price on one unit of a sku to a destination prefix; a later `valid_from` takes over from an earlier one."""
    fields = {
        "currency": currency, "sku": sku, "price": price, "prefix": prefix, "cost": cost,
        "cost_currency": cost_currency, "valid_from": valid_from,
    }  # fmt: skip
    draft = _rate(fields, operator.now())

    def work(conn: Connection) -> tuple[Gateway, Rate]:
        owner = references.gateway(conn, gateway)
        row = _on(draft, owner)
        if _key(row) in {_key(other) for other in rates.all_rates(conn)}:
            raise ConflictError("There already is a rate for this sku, prefix and moment; write a later valid_from.")
        rates.add_rate(conn, row)
        operator.record(conn, "rates.add", owner.id, shown(row, owner.name), cached=True)
        return owner, row

    owner, row = await operator.change(work)
    return shown(row, owner.name) | {"warnings": await card_warnings.about(operator, owner, [row])}


@operation("rates.list")
async def list_all(operator: Operator, *, gateway: str | None = None) -> list[dict[str, Any]]:
    """List the rates, of all gateways or of one, oldest first."""

    def work(conn: Connection) -> list[dict[str, Any]]:
        only = references.gateway(conn, gateway).id if gateway is not None else None
        names = {row.id: row.name for row in gateways.all_of_them(conn)}
        return [shown(row, names[row.gateway_id]) for row in rates.all_rates(conn) if only in (None, row.gateway_id)]

    return await operator.read(work)


@operation("rates.import")
async def import_csv(
    operator: Operator, *, gateway: str, csv_text: str, currency: str | None = None, valid_from: str | None = None
) -> dict[str, Any]:
    """Import a rate card from CSV with the columns sku and price, and maybe currency, prefix, cost, cost_currency
    and valid_from; all of it or nothing. `currency` and `valid_from` are for lines that name none.
    """
    drafts = _parse(csv_text, currency, valid_from, operator.now())

    def work(conn: Connection) -> Gateway:
        owner = references.gateway(conn, gateway)
        known = {_key(row) for row in rates.all_rates(conn)}
        rows = []
        for line, draft in drafts:
            row = _on(draft, owner)
            if _key(row) in known:
                raise OperationError(
                    f"Line {line}: there already is a rate for this sku, prefix and moment; write a later valid_from."
                )
            known.add(_key(row))
            rows.append(row)
        rates.add_rates(conn, rows)
        operator.record(conn, "rates.import", owner.id, {"rates": len(rows)}, cached=True)
        return owner

    owner = await operator.change(work)
    warnings = await card_warnings.about(operator, owner, (draft for _, draft in drafts))
    return {"gateway": owner.name, "imported": len(drafts), "warnings": warnings}


def _parse(csv_text: str, currency: str | None, valid_from: str | None, now: int) -> list[tuple[int, Rate]]:
    reader = csv.DictReader(io.StringIO(csv_text.removeprefix("\ufeff")), strict=True)
    found: list[tuple[int, Rate]] = []
    try:
        _check_header([name.strip() for name in reader.fieldnames or ()])
        for record in reader:
            if None in record or None in record.values():
                raise OperationError(f"Line {reader.line_num}: it has another number of fields than the first line.")
            fields = {name.strip(): (value or "").strip() or None for name, value in record.items()}
            fields["currency"] = fields.get("currency") or currency
            fields["valid_from"] = fields.get("valid_from") or valid_from
            try:
                found.append((reader.line_num, _rate(fields, now)))
            except InvalidArgumentError as error:
                raise OperationError(f"Line {reader.line_num}: {error}.") from None
            if len(found) > MOST_IMPORTED:
                raise InvalidArgumentError("csv", f"import {MOST_IMPORTED} rates at a time at most")
    except csv.Error as error:
        line = max(1, reader.line_num)  # of a first line that cannot be read, 0
        raise OperationError(f"Line {line}: it is not CSV ({error}).") from None
    return found


def _check_header(names: list[str]) -> None:
    header = set(names)
    if len(names) > len(header):
        twice = sorted(name for name in header if names.count(name) > 1)
        raise InvalidArgumentError("csv", f"its first line names columns twice: {', '.join(twice)}")
    if missing := _NEEDED - header:
        raise InvalidArgumentError(
            "csv", f"its first line must name the columns; missing: {', '.join(sorted(missing))}"
        )
    if unknown := header - _COLUMNS:
        raise InvalidArgumentError("csv", f"unknown columns: {', '.join(sorted(unknown))}")


def _rate(fields: dict[str, Any], now: int) -> Rate:
    sku = (fields.get("sku") or "").strip()
    if not sku or len(sku) > words.LONGEST_NAME or not sku.isprintable():
        raise InvalidArgumentError("sku", "write what the plugin meters, such as sms; see `waypost gateways skus`")
    cost, cost_currency = fields.get("cost"), fields.get("cost_currency")
    if (cost is None) != (cost_currency is None):
        raise InvalidArgumentError("cost", "write cost and cost_currency together, or neither")
    return Rate(
        id=new_id("rate"),
        gateway_id="",
        currency=words.currency(fields.get("currency") or ""),
        prefix=words.prefix(fields.get("prefix") or ""),
        sku=sku,
        price=words.amount(fields.get("price") or "", "price"),
        cost=words.amount(cost, "cost") if cost is not None else None,
        cost_currency=words.currency(cost_currency, "cost_currency") if cost_currency is not None else None,
        valid_from=words.moment(fields.get("valid_from") or "now", now, "valid_from"),
        created_at=now,
    )


def _on(draft: Rate, gateway: Gateway) -> Rate:
    return replace(draft, gateway_id=gateway.id)


def _key(row: Rate) -> tuple[str, str, str, str, int]:
    return row.gateway_id, row.currency, row.prefix, row.sku, row.valid_from
