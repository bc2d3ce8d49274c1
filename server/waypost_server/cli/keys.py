"""`waypost keys`: API keys."""

from __future__ import annotations

from typing import Annotated

import typer

from waypost_server.cli.present import Json, lines, present, say, table
from waypost_server.cli.reach import ask

group = typer.Typer(help="API keys: made once, shown once.", no_args_is_help=True)
Key = Annotated[str, typer.Argument(help="Its id or shown beginning.", metavar="KEY")]


@group.command("create")
def create(
    app: Annotated[str, typer.Option(help="Whose it is: an app's name or id.")],
    mode: Annotated[str, typer.Option(help="live, or test: routed to test gateways and free.")] = "live",
    expires: Annotated[str | None, typer.Option(help="When it ends: a span such as 90d, or a time.")] = None,
    *,
    as_json: Json = False,
) -> None:
    """Make an API key and show it, this once."""
    present(ask("keys.create", app=app, mode=mode, expires=expires), _secret_once, as_json=as_json)


@group.command("list")
def list_all(
    app: Annotated[str | None, typer.Option(help="Only of this app.")] = None, *, as_json: Json = False
) -> None:
    """List the API keys, never their secrets."""
    show = table(
        {"id": "id", "begins with": "shown", "app": "app", "mode": "mode", "state": "state", "expires": "expires_at"},
        empty="There is no API key yet; make one with `waypost keys create`.",
    )
    present(ask("keys.list", app=app), show, as_json=as_json)


@group.command("revoke")
def revoke(key: Key, *, as_json: Json = False) -> None:
    """Refuse it from the next request on."""
    present(ask("keys.revoke", key=key), lines, as_json=as_json)


@group.command("expire")
def expire(
    key: Key,
    at: Annotated[str, typer.Option(help="When it ends: now, a span such as 24h, or a time.")],
    *,
    as_json: Json = False,
) -> None:
    """Let it end at a moment, as while a partner changes over to a new one."""
    present(ask("keys.expire", key=key, at=at), lines, as_json=as_json)


def _secret_once(made: dict[str, object]) -> None:
    lines(made)
    say("\nKeep the secret now: it is stored nowhere and never shown again.")
