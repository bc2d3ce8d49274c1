"""`waypost nodes`, `webhooks`, `audit` and `doctor`: looking after a deployment."""

from __future__ import annotations

from typing import Annotated

import typer

from waypost_server.cli.present import Json, lines, present, say, table
from waypost_server.cli.reach import ask

nodes = typer.Typer(help="Nodes: the processes of this deployment.", no_args_is_help=True)
webhooks = typer.Typer(help="Webhooks: what providers delivered.", no_args_is_help=True)
audit = typer.Typer(help="The audit log: who did what.", no_args_is_help=True)


@nodes.command("list")
def list_nodes(*, as_json: Json = False) -> None:
    """List the nodes heard of in the last ten minutes."""
    columns = ("id", "role", "state", "channels", "version", "started_at", "seen_at")
    show = table(
        {name.replace("_", " "): name for name in columns}, empty="No node is running; start one with `waypost serve`."
    )
    present(ask("nodes.list"), show, as_json=as_json)


@webhooks.command("reparse")
def reparse(
    plugin: Annotated[str, typer.Option(help="The channel plugin that was mended.")], *, as_json: Json = False
) -> None:
    """Let the nodes parse once more what a plugin failed on."""
    present(ask("webhooks.reparse", plugin=plugin), lines, as_json=as_json)


@audit.command("list")
def list_audit(limit: Annotated[int, typer.Option(help="How many at most.")] = 50, *, as_json: Json = False) -> None:
    """List what operators did, newest first."""
    columns = ("at", "actor", "action", "subject", "detail")
    present(
        ask("audit.list", limit=limit), table({name: name for name in columns}, empty="Nothing yet."), as_json=as_json
    )


def doctor(*, as_json: Json = False) -> None:
    """Examine configuration, database, plugins and books; exit with 1 where something is wrong."""
    found = ask("doctor")
    present(found, _findings, as_json=as_json)
    if not found["ok"]:
        raise typer.Exit(1)


def _findings(found: dict[str, object]) -> None:
    for finding in found["findings"]:  # type: ignore[attr-defined]
        say(f"{finding['level']}: {finding['message']}")
    if not found["findings"]:
        say("Nothing is wrong.")
