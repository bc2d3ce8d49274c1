"""`waypost orgs`: who pays."""

from __future__ import annotations

from typing import Annotated

import typer

from waypost_server.cli.present import Json, lines, present, table
from waypost_server.cli.reach import ask

group = typer.Typer(help="Organizations: who pays.", no_args_is_help=True)
Organization = Annotated[str, typer.Argument(help="Its name or id.", metavar="ORG")]


@group.command("create")
def create(
    name: Annotated[str, typer.Argument(help="What people call it.")],
    currency: Annotated[str, typer.Option(help="What it pays in, such as SGD.")],
    credit_limit: Annotated[str, typer.Option(help="How far below zero it may go.")] = "0",
    *,
    as_json: Json = False,
) -> None:
    """Create an organization."""
    present(ask("orgs.create", name=name, currency=currency, credit_limit=credit_limit), lines, as_json=as_json)


@group.command("list")
def list_all(*, as_json: Json = False) -> None:
    """List the organizations."""
    show = table(
        {
            "id": "id",
            "name": "name",
            "status": "status",
            "available": lambda row: f"{row['available']} {row['currency']}",
            "held": "held",
            "limit": "credit_limit",
        },
        empty="There is no organization yet; make one with `waypost orgs create`.",
    )
    present(ask("orgs.list"), show, as_json=as_json)


@group.command("suspend")
def suspend(organization: Organization, *, as_json: Json = False) -> None:
    """Refuse its requests from the next one on."""
    present(ask("orgs.suspend", organization=organization), lines, as_json=as_json)


@group.command("activate")
def activate(organization: Organization, *, as_json: Json = False) -> None:
    """Let it send again."""
    present(ask("orgs.activate", organization=organization), lines, as_json=as_json)
