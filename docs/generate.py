"""Write the generated tables of the documentation again: `make docs`. A test fails while one is out of date."""  # noqa: INP001

from __future__ import annotations

import ast
import inspect
import json
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from types import UnionType
from typing import Any, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic_core import PydanticUndefined
from waypost.config import Config
from waypost.host.loader import PluginRecord, load_channels
from waypost.metrics import Metrics
from waypost.plugin.content import STANDARD_CONTENT
from waypost.refusals import ALL_REFUSALS, Refusal
from waypost_server.cli.commands import waypost
from waypost_server.rest.replies import token_error

ROOT = Path(__file__).parents[1]
#: The plugins of this repository, in the order of the tables; others that happen to be installed are left out.
PLUGINS = ("sms_twilio", "whatsapp", "whatsapp_twilio", "messenger", "instagram", "email_sendgrid")
FEATURES = {
    "correlation": "receipts name our attempt, so that one settles a send whose answer was lost",
    "lookup": "the provider can be asked what became of an attempt",
    "templates": "templates can be sent, and listed by `waypost gateways templates`",
    "replies": "`replyTo` quotes an earlier message",
    "service_window": "free text only after the recipient wrote; refused before credit is held",
    "watermarks": "one receipt covers everything sent until then",
    "batched_webhooks": "one webhook may hold many events",
}
_TYPES: dict[Any, str] = {
    str: "text", int: "whole number", float: "number", bool: "true or false", dict: "object", Any: "anything",
}  # fmt: skip


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [list(head), ["---"] * len(head), *map(list, rows)]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)


def plugins() -> list[PluginRecord]:
    """The repository's own plugins, loaded. Raises `RuntimeError` where one cannot be."""
    records = load_channels(PLUGINS)
    broken = [f"{name}: {records[name].reason}" for name in PLUGINS if records[name].plugin is None]
    if broken:
        raise RuntimeError("; ".join(broken))
    return [records[name] for name in PLUGINS]


def _info(record: PluginRecord) -> Any:
    assert record.plugin is not None
    return record.plugin.info


# ---- channels


def channels() -> str:
    """The README's matrix: a line for each plugin."""
    rows = [
        (
            _info(record).channel,
            f"[`{record.id}`](docs/channels/{record.id}.md)",
            _info(record).title,
            str(len(_info(record).content_kinds)),
            "✓" if _info(record).receives != "none" else "",
            _info(record).last_receipt.upper(),
            "✓" if "correlation" in _info(record).features else "",
            "✓" if "lookup" in record.hooks else "",
        )
        for record in plugins()
    ]
    head = ("channel", "plugin", "provider", "content kinds", "receives", "proves at best", "correlated", "looked up")
    return table(head, rows)


def features() -> str:
    """The full matrix: a column for each plugin."""
    found = plugins()

    def row(title: str, value: Callable[[PluginRecord], object]) -> list[str]:
        return [title, *(_cell(value(record)) for record in found)]

    rows = [
        row("channel", lambda record: _info(record).channel),
        row("distribution", lambda record: f"`{record.distribution}`"),
        row("recipients", lambda record: ", ".join(f"`{kind}`" for kind in _info(record).address_kinds)),
        row("receives by", lambda record: _info(record).receives),
        row("webhook URL", lambda record: f"one for each {_info(record).webhook_scope}".replace(
            "one for each shared", "shared by gateways").replace("account", "gateway")),
        row("last status that is sure to be told", lambda record: _info(record).last_receipt.upper()),
        row("longest text", lambda record: _info(record).limits.text_length),
        row("longest send, seconds", lambda record: f"{_info(record).send_timeout:g}"),
        row("provider dedupes by our key", lambda record: _info(record).idempotent_for > 0),
        row("`waypost gateways check`", lambda record: "check_account" in record.hooks),
        row("`waypost gateways connect`", lambda record: "connect_webhook" in record.hooks),
        row("`waypost gateways templates`", lambda record: "list_templates" in record.hooks),
        *(
            row(f"{told} (`{name}`)", lambda record, name=name: name in _info(record).features)  # type: ignore[misc]
            for name, told in FEATURES.items()
        ),
        *(
            row(f"content `{kind}`", lambda record, kind=kind: kind in _info(record).content_kinds)  # type: ignore[misc]
            for kind in _kinds(found)
        ),
    ]  # fmt: skip
    return table(["", *(f"[`{record.id}`]({record.id}.md)" for record in found)], rows)


def _kinds(found: Iterable[PluginRecord]) -> list[str]:
    offered = {kind for record in found for kind in _info(record).content_kinds}
    standard = [kind for kind in STANDARD_CONTENT if kind in offered]
    return standard + sorted(offered - set(standard))


def _cell(value: object) -> str:
    if isinstance(value, bool):
        return "✓" if value else ""
    return "" if value is None else str(value)


def content() -> str:
    """What each kind of content holds, and which channels take it."""
    found = plugins()
    kinds: dict[tuple[str, str], list[str]] = {}
    for kind in _kinds(found):
        models = [model for record in found if (model := _info(record).content_model(kind)) is not None]
        takers = sorted({_info(record).channel for record in found if kind in _info(record).content_kinds})
        kinds.setdefault((_fields(models[0]), ", ".join(takers)), []).append(f"`{kind}`")
    rows = [(" ".join(names), fields, takers) for (fields, takers), names in kinds.items()]
    return table(("kind", "fields (those in bold are required)", "channels"), rows)


def _fields(model: type[BaseModel]) -> str:
    shown = []
    for name, field in model.model_fields.items():
        if name != "kind":
            mark = "**" if field.is_required() else ""
            shown.append(f"{mark}`{field.alias or name}`{mark} {_type(field.annotation)}")
    return ", ".join(shown) or "none"


def _type(annotation: Any) -> str:
    origin, parts = get_origin(annotation), [part for part in get_args(annotation) if part is not type(None)]
    if origin in (Union, UnionType):
        return " or ".join(_type(part) for part in parts)
    if origin in (list, tuple):
        return f"list of {_type(parts[0])}"
    if hasattr(annotation, "__metadata__"):  # Annotated
        return _type(parts[0])
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return f"{{{_fields(annotation)}}}"
    return _TYPES[origin or annotation]


# ---- codes, configuration, metrics, commands


def errors() -> str:
    """Every refusal, with its name on both APIs and what to do."""
    rows = []
    for refusal in ALL_REFUSALS:
        answer = token_error(refusal(), "")
        assert isinstance(answer.body, bytes)
        name = json.loads(answer.body)["error"]
        status = str(refusal.status) if answer.status == refusal.status else f"{refusal.status}, token {answer.status}"
        rows.append((f"`{refusal.code}`", status, f"`{name}`", _sentence(refusal)))
    return table(("code (partner API)", "HTTP status", "error (token API)", "what it means, what to do"), rows)


def _sentence(refusal: type[Refusal]) -> str:
    return " ".join((refusal.__doc__ or "").split())


def configuration() -> str:
    """Every field of the configuration, from the comments beside it."""
    told = dict(_comments())
    rows = [
        (f"`WAYPOST_{name.upper()}`", _default(field.default, field.default_factory), told[name])
        for name, field in Config.model_fields.items()
    ]
    rows.append(
        ("`WAYPOST_DEBUG`", "none", "`1` shows where a command failed that failed unexpectedly (environment only).")
    )
    return table(("variable", "default", "meaning"), rows)


def _comments() -> Iterator[tuple[str, str]]:
    source = inspect.getsource(Config)
    lines = source.splitlines()
    for item in ast.parse(source).body[0].body:  # type: ignore[attr-defined]
        if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name) and item.target.id != "model_config":
            above: list[str] = []
            for line in reversed(lines[: item.lineno - 1]):
                if not line.strip().startswith("#:"):
                    break
                above.insert(0, line.strip().removeprefix("#:").strip())
            if not above:
                raise RuntimeError(f"config.py: {item.target.id} needs a `#:` comment that says what it is")
            yield item.target.id, " ".join(above)


def _default(default: Any, factory: Any) -> str:
    if default is PydanticUndefined:
        default = factory()
    if default is None or default in ((), {}, ""):
        return "none"
    return f"`{default:_}`".replace("_", " ") if type(default) is int and default > 9999 else f"`{default}`"


def metrics() -> str:
    """Every metric, with its labels."""
    rows = []
    for metric in vars(Metrics()).values():
        if hasattr(metric, "describe"):
            (family,) = metric.describe()
            name = f"{family.name}_total" if family.type == "counter" else family.name
            labels = ", ".join(f"`{label}`" for label in metric._labelnames)
            rows.append((f"`{name}`", family.type, labels, family.documentation))
    return table(("metric", "kind", "labels", "meaning"), rows)


def commands() -> str:
    """Every command of `waypost`, in groups."""
    rows = []
    for command in waypost.registered_commands:
        told = inspect.getdoc(command.callback) or ""
        rows.append((f"`waypost {command.name}`", " ".join(told.split("\n\n")[0].split())))
    for group in waypost.registered_groups:
        typed = group.typer_instance
        assert typed is not None
        below = [f"`{command.name}`" for command in typed.registered_commands if not command.hidden]
        rows.append((f"`waypost {group.name}`", f"{typed.info.help} {', '.join(below)}"))
    return table(("command", "what it is for"), rows)


# ---- into the files

GENERATED: dict[str, dict[str, Callable[[], str]]] = {
    "README.md": {"channels": channels},
    "docs/channels/README.md": {"features": features},
    "docs/partners.md": {"errors": errors, "content": content},
    "docs/operators.md": {"configuration": configuration, "metrics": metrics, "commands": commands},
}


def rendered(path: str) -> str:
    """A file as it should be. Raises `RuntimeError` where a mark is missing."""
    text = (ROOT / path).read_text(encoding="utf-8")
    for name, make in GENERATED[path].items():
        start, end = f"<!-- generated: {name} (make docs) -->", f"<!-- end: {name} -->"
        pattern = re.compile(f"{re.escape(start)}.*?{re.escape(end)}", re.DOTALL)
        if len(pattern.findall(text)) != 1:
            raise RuntimeError(f"{path} needs `{start}` and `{end}` once each")
        before, after = pattern.split(text)
        text = f"{before}{start}\n{make()}\n{end}{after}"
    return text


def main() -> None:
    """Write every file whose tables have changed."""
    for name in [name for name in os.environ if name.startswith("WAYPOST_")]:
        del os.environ[name]
    for path in GENERATED:
        made = rendered(path)
        if made != (ROOT / path).read_text(encoding="utf-8"):
            (ROOT / path).write_text(made, encoding="utf-8")
            sys.stdout.write(f"wrote {path}\n")


if __name__ == "__main__":
    main()
