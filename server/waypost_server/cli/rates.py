"""`waypost rates`: what messages cost."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from waypost_server.cli.errors import CommandError
from waypost_server.cli.present import Json, present, present_warned, table
from waypost_server.cli.reach import ask

group = typer.Typer(help="Rates: what messages cost partners, and you.", no_args_is_help=True)
Gateway = Annotated[str, typer.Option(help="Whose rate card: a gateway's name or id.")]


@group.command("add")
def add(
    gateway: Gateway,
    sku: Annotated[str, typer.Option(help="What is metered, as `waypost gateways skus` names it.")],
    price: Annotated[str, typer.Option(help="What one unit costs the partner.")],
    currency: Annotated[str, typer.Option(help="The organizations' currency, such as SGD.")],
    prefix: Annotated[
        str, typer.Option(help="Only to destinations that begin so, such as 65; without it, to all.")
    ] = "",
    cost: Annotated[str | None, typer.Option(help="What one unit costs you, for margins.")] = None,
    cost_currency: Annotated[str | None, typer.Option(help="The currency of the cost.")] = None,
    valid_from: Annotated[str, typer.Option(help="From when on: now, a span such as 7d, or a time.")] = "now",
    *,
    as_json: Json = False,
) -> None:
    """Put a price on one unit of a sku."""
    made = ask(
        "rates.add",
        gateway=gateway,
        sku=sku,
        price=price,
        currency=currency,
        prefix=prefix,
        cost=cost,
        cost_currency=cost_currency,
        valid_from=valid_from,
    )
    present_warned(made, as_json=as_json)


group.command("create", hidden=True)(add)


@group.command("list")
def list_all(
    gateway: Annotated[str | None, typer.Option(help="Only of this gateway.")] = None, *, as_json: Json = False
) -> None:
    """List the rates."""
    show = table(
        {
            "gateway": "gateway",
            "sku": "sku",
            "prefix": "prefix",
            "price": lambda row: f"{row['price']} {row['currency']}",
            "cost": lambda row: f"{row['cost']} {row['cost_currency']}" if row["cost"] is not None else "",
            "valid from": "valid_from",
        },
        empty="There is no rate yet; add one with `waypost rates add`.",
    )
    present(ask("rates.list", gateway=gateway), show, as_json=as_json)


@group.command("import")
def import_csv(
    file: Annotated[
        Path,
        typer.Argument(
            help="CSV with the columns sku and price, and maybe prefix, currency, cost, cost_currency, valid_from."
        ),
    ],
    gateway: Gateway,
    currency: Annotated[str | None, typer.Option(help="For lines that name none.")] = None,
    valid_from: Annotated[
        str | None, typer.Option(help="For lines that name none: now, a span such as 7d, or a time.")
    ] = None,
    *,
    as_json: Json = False,
) -> None:
    """Import a rate card: all of it or nothing."""
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError(f"{file} cannot be read as UTF-8 text; check the path and the encoding.") from error
    told = ask("rates.import", gateway=gateway, csv_text=text, currency=currency, valid_from=valid_from)
    present_warned(told, as_json=as_json)
