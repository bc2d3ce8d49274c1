"""`waypost provider-apps`: apps at providers that gateways share."""

from __future__ import annotations

from typing import Annotated

import typer

from waypost_server.cli.present import Json, lines, present, present_warned, table
from waypost_server.cli.reach import ask
from waypost_server.cli.settings import SettingsJson, SettingsPairs, read_settings

group = typer.Typer(help="Provider apps: shared by gateways, such as a Meta app with its secret.", no_args_is_help=True)
ProviderApp = Annotated[str, typer.Argument(help="Its name or id.", metavar="PROVIDER-APP")]


@group.command("create")
def create(
    name: Annotated[str, typer.Argument(help="What people call it.")],
    plugin: Annotated[str, typer.Option(help="The channel plugin it is for.")],
    settings: SettingsJson = None,
    pairs: SettingsPairs = None,
    *,
    as_json: Json = False,
) -> None:
    """Store an app that you have at a provider."""
    made = ask("provider-apps.create", name=name, plugin=plugin, settings=read_settings(settings, pairs))
    present_warned(made, as_json=as_json)


@group.command("list")
def list_all(*, as_json: Json = False) -> None:
    """List the provider apps."""
    show = table({"id": "id", "name": "name", "plugin": "plugin"}, empty="There is no provider app yet.")
    present(ask("provider-apps.list"), show, as_json=as_json)


@group.command("show")
def show(provider_app: ProviderApp, *, as_json: Json = False) -> None:
    """Show one, without its secrets."""
    present(ask("provider-apps.show", provider_app=provider_app), lines, as_json=as_json)


@group.command("update")
def update(
    provider_app: ProviderApp, settings: SettingsJson = None, pairs: SettingsPairs = None, *, as_json: Json = False
) -> None:
    """Replace some of its settings; null takes one away."""
    changed = ask("provider-apps.update", provider_app=provider_app, settings=read_settings(settings, pairs))
    present_warned(changed, as_json=as_json)
