"""`waypost gateways`: accounts at providers."""

from __future__ import annotations

from typing import Annotated

import typer

from waypost_server.cli.present import Json, lines, present, present_warned, table
from waypost_server.cli.reach import ask
from waypost_server.cli.settings import SettingsJson, SettingsPairs, read_settings

group = typer.Typer(help="Gateways: your accounts at providers.", no_args_is_help=True)
Gateway = Annotated[str, typer.Argument(help="Its name or id.", metavar="GATEWAY")]
Senders = Annotated[list[str] | None, typer.Option("--sender", help="A sender of this account; the first is used.")]
ProviderApp = Annotated[str | None, typer.Option(help="The provider app it belongs to: a name or id.")]
App = Annotated[str | None, typer.Option(help="The app that receives its inbound messages: a name or id.")]
Rate = Annotated[int | None, typer.Option(help="Messages per second at most; 0 is unlimited.")]


@group.command("create")
def create(
    name: Annotated[str, typer.Argument(help="What people call it.")],
    plugin: Annotated[str, typer.Option(help="The channel plugin, as `waypost channels list` names it.")],
    settings: SettingsJson = None,
    pairs: SettingsPairs = None,
    provider_app: ProviderApp = None,
    app: App = None,
    senders: Senders = None,
    mode: Annotated[str, typer.Option(help="live, or test: for test keys.")] = "live",
    rate_per_second: Rate = None,
    concurrency: Annotated[int, typer.Option(help="Sends under way at once at most.")] = 32,
    receipt_window_hours: Annotated[int, typer.Option(help="How long receipts are waited for.")] = 72,
    *,
    as_json: Json = False,
) -> None:
    """Store an account at a provider, and show where its webhooks go."""
    made = ask(
        "gateways.create",
        name=name,
        plugin=plugin,
        settings=read_settings(settings, pairs),
        provider_app=provider_app,
        app=app,
        senders=senders,
        mode=mode,
        rate_per_second=rate_per_second,
        concurrency=concurrency,
        receipt_window_hours=receipt_window_hours,
    )
    present_warned(made, as_json=as_json)


@group.command("list")
def list_all(*, as_json: Json = False) -> None:
    """List the gateways."""
    columns = ("id", "name", "plugin", "channel", "mode", "status", "senders")
    show = table(
        {name: name for name in columns}, empty="There is no gateway yet; make one with `waypost gateways create`."
    )
    present(ask("gateways.list"), show, as_json=as_json)


@group.command("show")
def show(gateway: Gateway, *, as_json: Json = False) -> None:
    """Show one, without its secrets."""
    present(ask("gateways.show", gateway=gateway), lines, as_json=as_json)


@group.command("update")
def update(
    gateway: Gateway,
    name: Annotated[str | None, typer.Option(help="A new name.")] = None,
    settings: SettingsJson = None,
    pairs: SettingsPairs = None,
    provider_app: ProviderApp = None,
    app: App = None,
    senders: Senders = None,
    rate_per_second: Rate = None,
    concurrency: Annotated[int | None, typer.Option(help="Sends under way at once at most.")] = None,
    receipt_window_hours: Annotated[int | None, typer.Option(help="How long receipts are waited for.")] = None,
    *,
    as_json: Json = False,
) -> None:
    """Change what is named; the rest stays."""
    changed = ask(
        "gateways.update",
        gateway=gateway,
        name=name,
        settings=read_settings(settings, pairs) if settings is not None or pairs else None,
        provider_app=provider_app,
        app=app,
        senders=senders or None,
        rate_per_second=rate_per_second,
        concurrency=concurrency,
        receipt_window_hours=receipt_window_hours,
    )
    present_warned(changed, as_json=as_json)


@group.command("pause")
def pause(
    gateway: Gateway,
    reason: Annotated[str, typer.Option(help="Why; others will see it.")] = "paused by an operator",
    *,
    as_json: Json = False,
) -> None:
    """Send nothing through it; its messages wait."""
    present(ask("gateways.pause", gateway=gateway, reason=reason), lines, as_json=as_json)


@group.command("enable", hidden=True)  # else who looks for it is told to try `disable`
@group.command("resume")
def resume(gateway: Gateway, *, as_json: Json = False) -> None:
    """Send through it again, whether it was paused or disabled."""
    present(ask("gateways.resume", gateway=gateway), lines, as_json=as_json)


@group.command("disable")
def disable(
    gateway: Gateway,
    reason: Annotated[str, typer.Option(help="Why; others will see it.")] = "disabled by an operator",
    *,
    as_json: Json = False,
) -> None:
    """Take it out of every route; what it accepted is still followed."""
    present(ask("gateways.disable", gateway=gateway, reason=reason), lines, as_json=as_json)


@group.command("check")
def check(gateway: Gateway, *, as_json: Json = False) -> None:
    """Ask the provider whether the account may send; exit with 1 where it is blocked."""
    found = ask("gateways.check", gateway=gateway)
    present(found, lines, as_json=as_json)
    if found["state"] == "blocked":
        raise typer.Exit(1)


@group.command("connect")
def connect(gateway: Gateway, *, as_json: Json = False) -> None:
    """Point the provider's webhooks at its URL, where the plugin can; do it again as often as you like."""
    present(ask("gateways.connect", gateway=gateway), lines, as_json=as_json)


@group.command("templates")
def templates(gateway: Gateway, *, as_json: Json = False) -> None:
    """List the templates that the provider holds for it."""
    columns = ("id", "name", "language", "category", "status", "variables")
    shown = table({name: name for name in columns}, empty="The provider holds no template for this account.")
    present(ask("gateways.templates", gateway=gateway), shown, as_json=as_json)


@group.command("skus")
def skus(
    gateway: Gateway,
    to: Annotated[str | None, typer.Option(help="A recipient, where the plugin meters by destination.")] = None,
    *,
    as_json: Json = False,
) -> None:
    """List what its messages are metered in: what to put a rate on."""
    shown = table({"sku": "sku", "content": "content"}, empty="Its plugin has no examples to meter; see its page.")
    present(ask("gateways.skus", gateway=gateway, to=to), shown, as_json=as_json)
