"""`waypost messages`: what became of them, and why."""

from __future__ import annotations

from typing import Annotated

import typer

from waypost_server.cli.present import Json, lines, present, say, table
from waypost_server.cli.reach import ask

group = typer.Typer(help="Messages: what became of them, and why.", no_args_is_help=True)

_HEAD = (
    "id", "status", "organization", "app", "channel", "recipient", "sender", "content", "options", "mode", "error_code",
    "error_detail", "contradictory", "possible_duplicate", "request_id",
)  # fmt: skip


@group.command("list")
def list_all(
    organization: Annotated[str | None, typer.Option("--org", help="Only of this organization.")] = None,
    app: Annotated[str | None, typer.Option(help="Only of this app.")] = None,
    channel: Annotated[str | None, typer.Option(help="Only on this channel.")] = None,
    status: Annotated[str | None, typer.Option(help="Only in this status.")] = None,
    before: Annotated[str | None, typer.Option(help="Only older than the message of this id.")] = None,
    limit: Annotated[int, typer.Option(help="How many at most.")] = 50,
    *,
    as_json: Json = False,
) -> None:
    """List messages, newest first."""
    show = table(
        {
            "id": "id",
            "created": "created_at",
            "app": "app",
            "channel": "channel",
            "to": "recipient",
            "status": "status",
            "cost": lambda row: f"{row['cost']} {row['currency']}",
        },
        empty="There is no such message.",
    )
    found = ask(
        "messages.list",
        organization=organization,
        app=app,
        channel=channel,
        status=status,
        before=before,
        limit=limit,
    )
    present(found, show, as_json=as_json)


@group.command("show")
def show(
    message: Annotated[str, typer.Argument(help="Its id.")],
    content: Annotated[
        bool, typer.Option("--content", help="Show what was sent to whom, too; this goes into the audit log.")
    ] = False,
    *,
    as_json: Json = False,
) -> None:
    """Explain one message: its timeline, prices, attempts and money."""
    present(ask("messages.show", message=message, content=content), explain, as_json=as_json)


@group.command("counts")
def counts(*, as_json: Json = False) -> None:
    """Count the messages in each status."""
    present(ask("messages.counts"), lambda found: lines(found) if found else say("No message."), as_json=as_json)


@group.command("cancel")
def cancel(
    messages: Annotated[list[str] | None, typer.Argument(help="Their ids.")] = None,
    organization: Annotated[str | None, typer.Option("--org", help="All of this organization.")] = None,
    app: Annotated[str | None, typer.Option(help="All of this app.")] = None,
    channel: Annotated[str | None, typer.Option(help="All on this channel.")] = None,
    gateway: Annotated[str | None, typer.Option(help="All that wait for this gateway.")] = None,
    before: Annotated[str | None, typer.Option(help="All older than the message of this id.")] = None,
    *,
    everything: Annotated[bool, typer.Option("--all", help="All that there are.")] = False,
    as_json: Json = False,
) -> None:
    """Cancel what has still to be sent, and free its credit; what is being sent, or was, goes on."""
    canceled = ask(
        "messages.cancel",
        messages=messages or None,
        organization=organization,
        app=app,
        channel=channel,
        gateway=gateway,
        before=before,
        everything=everything or None,
    )
    present(canceled, lines, as_json=as_json)


def explain(told: dict[str, object]) -> None:
    """Print a message as `messages.show` tells it."""
    lines({name: told[name] for name in _HEAD if name in told and told[name] is not False})
    currency = told["currency"]
    say(f"\nMoney: held {told['held']}, captured {told['captured']} {currency}"
        + ("" if told["settled_at"] else ", not settled yet"))  # fmt: skip
    for step in told["steps"]:  # type: ignore[attr-defined]
        for choice in step["choices"]:
            priced = ", ".join(
                f"{line['quantity']} × {line['sku']} = {line['amount']} when {line['charge_on']}"
                for line in choice["lines"]
            )
            mark = "→" if choice["chosen"] else " "
            say(f"  step {step['no']} {mark} {choice['gateway']}: {priced}")
    say("\nTimeline")
    for line in told["timeline"]:  # type: ignore[attr-defined]
        say(f"  {line['at']}  {line['text']}")
