"""`waypost routes`: which gateways messages go through."""

from __future__ import annotations

from typing import Annotated

import typer

from waypost_server.cli.present import Json, present, present_warned, say, table
from waypost_server.cli.reach import ask

group = typer.Typer(help="Routes: which gateways an app's messages go through.", no_args_is_help=True)
App = Annotated[str, typer.Option(help="Whose route: an app's name or id.")]
Prefix = Annotated[str, typer.Option(help="Only to destinations that begin so, such as 65; without it, to all.")]


def _set(
    app: App,
    gateways: Annotated[list[str], typer.Option("--gateway", help="A gateway's name or id; repeat it for failover.")],
    channel: Annotated[str | None, typer.Option(help="The channel; that of the gateways unless named.")] = None,
    prefix: Prefix = "",
    sender: Annotated[str | None, typer.Option(help="Who the message is from, unless the request says.")] = None,
    *,
    as_json: Json = False,
) -> None:
    """Route an app's messages on a channel, in place of an earlier route to the same prefix."""
    made = ask("routes.set", app=app, gateways=gateways, channel=channel, prefix=prefix, sender=sender)
    present_warned(made, as_json=as_json)


group.command("set")(_set)
group.command("create", hidden=True)(_set)


@group.command("list")
def list_all(
    app: Annotated[str | None, typer.Option(help="Only of this app.")] = None, *, as_json: Json = False
) -> None:
    """List the routes."""
    columns = ("app", "channel", "prefix", "gateways", "sender")
    show = table({name: name for name in columns}, empty="There is no route yet; make one with `waypost routes set`.")
    present(ask("routes.list", app=app), show, as_json=as_json)


@group.command("remove")
def remove(
    app: App,
    channel: Annotated[str, typer.Option(help="The channel.")],
    prefix: Prefix = "",
    *,
    as_json: Json = False,
) -> None:
    """Take a route away."""
    gone = ask("routes.remove", app=app, channel=channel, prefix=prefix)
    present(gone, lambda _: say("Removed."), as_json=as_json)
