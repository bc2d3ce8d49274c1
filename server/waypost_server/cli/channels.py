"""`waypost channels`: the plugins that are installed."""

from __future__ import annotations

import typer

from waypost_server.cli.grades import graded
from waypost_server.cli.present import Json, present, table
from waypost_server.cli.reach import ask

group = typer.Typer(help="Channels: the plugins that are installed.", no_args_is_help=True)


@group.command("list")
def list_all(*, as_json: Json = False) -> None:
    """List every installed plugin: loaded, disabled, incompatible or failed, and why.

    The grade is what `waypost plugin check` found of this version on this machine.
    """
    show = table(
        {
            "plugin": "id",
            "channel": "channel",
            "state": "state",
            "version": lambda row: f"{row['distribution']} {row['version']}",
            "api": "api",
            "last receipt": "last_receipt",
            "hooks": "hooks",
            "features": "features",
            "grade": "grade",
            "reason": "reason",
        },
        empty="No channel plugin is installed; install one, such as waypost-sms-twilio.",
    )
    present(graded(ask("channels.list")), show, as_json=as_json)
