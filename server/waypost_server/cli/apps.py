"""`waypost apps`: the clients of organizations."""

from __future__ import annotations

from typing import Annotated

import typer

from waypost_server.cli.present import Json, lines, present, table
from waypost_server.cli.reach import ask

group = typer.Typer(help="Apps: the clients of organizations.", no_args_is_help=True)
App = Annotated[str, typer.Argument(help="Its name or id.", metavar="APP")]


@group.command("create")
def create(
    name: Annotated[str, typer.Argument(help="What people call it.")],
    organization: Annotated[str, typer.Option("--org", help="Whose it is: a name or id.")],
    on_unknown: Annotated[
        str, typer.Option(help="When nobody knows whether a message was sent: hold, resend or fallback.")
    ] = "hold",
    *,
    as_json: Json = False,
) -> None:
    """Create an app."""
    made = ask("apps.create", organization=organization, name=name, on_unknown=on_unknown)
    present(made, lines, as_json=as_json)


@group.command("list")
def list_all(
    organization: Annotated[str | None, typer.Option("--org", help="Only of this organization.")] = None,
    *,
    as_json: Json = False,
) -> None:
    """List the apps."""
    show = table(
        {"id": "id", "name": "name", "organization": "organization", "status": "status", "on unknown": "on_unknown"},
        empty="There is no app yet; make one with `waypost apps create`.",
    )
    present(ask("apps.list", organization=organization), show, as_json=as_json)


@group.command("suspend")
def suspend(app: App, *, as_json: Json = False) -> None:
    """Refuse its requests from the next one on."""
    present(ask("apps.suspend", app=app), lines, as_json=as_json)


@group.command("activate")
def activate(app: App, *, as_json: Json = False) -> None:
    """Let it send again."""
    present(ask("apps.activate", app=app), lines, as_json=as_json)
