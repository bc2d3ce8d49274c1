"""The command tree: `waypost` and what is below it."""

from __future__ import annotations

import enum
import json
import logging
from typing import Annotated

import typer

from waypost_server.cli import (
    apps,
    care,
    channels,
    credit,
    database,
    gateways,
    keys,
    messages,
    orgs,
    plugins,
    provider_apps,
    rates,
    routes,
)
from waypost_server.cli.errors import CommandError
from waypost_server.cli.present import Json, present, say
from waypost_server.cli.reach import load_config

waypost = typer.Typer(
    help="Waypost: a messaging gateway whose every channel is a plugin.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
vault = typer.Typer(help="The vault that seals secrets.", no_args_is_help=True)

for name, group in {
    "db": database.group,
    "orgs": orgs.group,
    "apps": apps.group,
    "keys": keys.group,
    "credit": credit.group,
    "gateways": gateways.group,
    "provider-apps": provider_apps.group,
    "rates": rates.group,
    "routes": routes.group,
    "channels": channels.group,
    "plugin": plugins.group,
    "messages": messages.group,
    "webhooks": care.webhooks,
    "nodes": care.nodes,
    "audit": care.audit,
    "vault": vault,
}.items():
    waypost.add_typer(group, name=name)
waypost.command("doctor")(care.doctor)


class Role(enum.StrEnum):
    """What a node does."""

    ALL = "all"
    API = "api"
    WORKER = "worker"


@waypost.callback(invoke_without_command=True)
def root(
    *, version: Annotated[bool, typer.Option("--version", help="Say which release this is.", is_eager=True)] = False
) -> None:
    """Run one of the commands below."""
    if version:
        from waypost import __version__

        say(f"waypost {__version__}")
        raise typer.Exit


@waypost.command("serve")
def serve(
    role: Annotated[Role, typer.Option(help="What this node does; several nodes need PostgreSQL.")] = Role.ALL,
    host: Annotated[str | None, typer.Option(help="The address to listen on.")] = None,
    port: Annotated[
        int | None, typer.Option(help="The port to listen on; 0 is any free one.", min=0, max=65535)
    ] = None,
    channels: Annotated[str | None, typer.Option(help="The channel plugins to enable, with commas between.")] = None,
    memory_limit: Annotated[
        int | None, typer.Option(help="How much address space this node may use, in MB; then it stops.", min=1)
    ] = None,
    *,
    as_json: Json = False,
) -> None:
    """Serve the APIs and send, until SIGTERM or Ctrl-C.

    An empty database gets its schema; an older one must be upgraded first with `waypost db upgrade`.
    """
    from waypost import log

    from waypost_server.serve import run

    config = load_config(host=host, port=port, channels=channels)
    if config.log_level.upper() not in logging.getLevelNamesMapping():
        raise CommandError("WAYPOST_LOG_LEVEL is not a level; write debug, info, warning or error.")
    log.configure(config.log_level)

    def announce(url: str) -> None:
        say(json.dumps({"url": url, "role": role.value}) if as_json else f"Waypost serves {url}")

    run(config, role.value, announce, memory_limit=memory_limit)


@waypost.command("demo")
def demo(
    port: Annotated[int, typer.Option(help="The port to serve on; 0 is any free one.", min=0, max=65535)] = 8080,
    once: Annotated[bool, typer.Option("--once", help="Stop after the deliveries; exit with 1 if any failed.")] = False,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object a line instead.")] = False,
) -> None:
    """Show everything at work on this machine: a gateway, simulated providers, and messages delivered and paid for."""
    from waypost_server.demo import run

    raise typer.Exit(run(port=port, once=once, as_json=as_json))


@vault.command("new-key")
def new_key(*, as_json: Json = False) -> None:
    """Print a new key for WAYPOST_MASTER_KEYS; put it first and keep the old ones while they are needed."""
    from waypost.vault import new_key as make

    present({"key": make()}, lambda made: say(made["key"]), as_json=as_json)
