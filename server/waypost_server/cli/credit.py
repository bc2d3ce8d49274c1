"""`waypost credit`: what organizations paid, may overdraw and have left."""

from __future__ import annotations

from typing import Annotated

import typer

from waypost_server.cli.present import Json, lines, present, say, table
from waypost_server.cli.reach import ask

group = typer.Typer(help="Credit: what organizations paid and have left.", no_args_is_help=True)
Organization = Annotated[str, typer.Argument(help="The organization's name or id.", metavar="ORG")]
#: Negative amounts look like options unless the command lets unknown options through.
_SIGNED = {"ignore_unknown_options": True}


@group.command("top-up")
def top_up(
    organization: Organization,
    amount: Annotated[str, typer.Argument(help="In its currency, such as 100 or 12.50.")],
    note: Annotated[str, typer.Option(help="A line for the ledger, such as an invoice's number.")] = "",
    *,
    as_json: Json = False,
) -> None:
    """Add what an organization paid."""
    present(ask("credit.top-up", organization=organization, amount=amount, note=note), lines, as_json=as_json)


@group.command("adjust", context_settings=_SIGNED)
def adjust(
    organization: Organization,
    amount: Annotated[str, typer.Argument(help="Positive or negative, such as -2.50.")],
    reason: Annotated[str, typer.Option(help="Why; it stays in the ledger.")],
    *,
    as_json: Json = False,
) -> None:
    """Correct an organization's credit up or down."""
    present(ask("credit.adjust", organization=organization, amount=amount, reason=reason), lines, as_json=as_json)


@group.command("limit")
def limit(
    organization: Organization,
    limit: Annotated[str, typer.Argument(help="How far below zero it may go, such as 50.")],
    *,
    as_json: Json = False,
) -> None:
    """Set an organization's credit limit."""
    present(ask("credit.limit", organization=organization, limit=limit), lines, as_json=as_json)


@group.command("show")
def show(organization: Organization, *, as_json: Json = False) -> None:
    """Show an organization's balance."""
    present(ask("credit.show", organization=organization), lines, as_json=as_json)


@group.command("list")
def list_all(*, as_json: Json = False) -> None:
    """Show every organization's balance."""
    columns = ("organization", "currency", "funded", "available", "held", "captured", "credit_limit", "spendable")
    shown = table({name.replace("_", " "): name for name in columns}, empty="There is no organization yet.")
    present(ask("credit.list"), shown, as_json=as_json)


@group.command("entries")
def entries(
    organization: Organization,
    limit: Annotated[int, typer.Option(help="How many at most.")] = 50,
    *,
    as_json: Json = False,
) -> None:
    """List an organization's ledger entries, newest first."""
    columns = ("at", "kind", "from", "to", "amount", "message", "step", "note")
    shown = table({name: name for name in columns}, empty="There is no entry yet.")
    present(ask("credit.entries", organization=organization, limit=limit), shown, as_json=as_json)


@group.command("audit")
def audit(*, as_json: Json = False) -> None:
    """Add up every ledger entry and compare with the balances; exit with 1 where they differ."""
    found = ask("credit.audit")
    present(found, _audited, as_json=as_json)
    if not found["balanced"]:
        raise typer.Exit(1)


def _audited(found: dict[str, object]) -> None:
    wrong = found["discrepancies"]
    if not wrong:
        say(f"Every entry adds up to its balance, to the micro (organizations: {found['organizations']}).")
        return
    table({"organization": "organization", "id": "organization_id"}, empty="")(wrong)  # type: ignore[arg-type]
    say("The entries of these organizations do not add up to their balances.")
