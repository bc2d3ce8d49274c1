"""What `waypost.plugin` promises, pinned: names, signatures, fields, defaults and enum values.

A change of the public surface shows here as a diff of `plugin_surface.txt`, and so in review. Where it is meant, read
docs/plugins/versioning.md (what may change in which version), write the new surface with

    .venv/bin/python tests/support/plugin_surface.py

and commit it with the change.
"""

from __future__ import annotations

import dataclasses
import difflib
import importlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, get_args

import pytest
from plugin_surface import PINNED, modules, names, surface
from waypost.plugin import Content, Unknown
from waypost.plugin.content import STANDARD_CONTENT
from waypost.plugin.spec import ChannelSpec

ROOT = Path(__file__).parents[2]

#: What may be made without naming its fields, and which of them come first. Everything else takes keywords only, so
#: that a field can be added anywhere.
POSITIONAL = {
    "Address": ["kind", "value"],
    "Challenge": ["reply"],
    "HttpReply": ["status", "headers", "body"],
    "Quote": ["lines"],
    "QuoteLine": ["sku", "quantity"],
    "Recognition": ["account_ref"],
    "Rejected": ["reason"],
    "Verified": ["reply"],
    "WebhookReply": ["status", "body"],
}


def public() -> Iterator[tuple[str, Any]]:
    """Every public name of the package that is defined in it, once."""
    for module, tree in modules().items():
        for name in names(tree):
            yield name, getattr(importlib.import_module(module), name)


DATACLASSES = {name: thing for name, thing in public() if isinstance(thing, type) and dataclasses.is_dataclass(thing)}


def test_the_surface_is_as_pinned() -> None:
    pinned, now = PINNED.read_text(encoding="utf-8"), surface()
    changed = "\n".join(difflib.unified_diff(pinned.splitlines(), now.splitlines(), "pinned", "now", lineterm="", n=1))
    assert pinned == now, f"The public surface of waypost.plugin changed; {__doc__}\n{changed}"


def test_a_change_shows() -> None:
    """Every kind of promise is in the text."""
    text = surface()
    for line in (
        "from waypost.plugin.errors import RateLimited",
        "API_VERSION = (",
        "GSM_SINGLE, GSM_PART = (160, 153)",
        "    async def send(self, ctx: Context, message: OutboundMessage) -> SendResult",
        "    last_receipt: LastReceipt = 'delivered'",
        "    body: str = Field(min_length=1, max_length=65536)",
        "    EARLY_RECEIPTS = 'early_receipts'",
        "    self.retry_after",
        "ReceiptStatus = Literal['sent', 'delivered', 'read', 'undelivered', 'failed']",
    ):
        assert line in text, line


@pytest.mark.parametrize("name", sorted(DATACLASSES))
def test_a_dataclass_can_grow(name: str) -> None:
    """Frozen, without a `__dict__`, made by keywords but for the few fields that are known by their place."""
    made = DATACLASSES[name]
    first = [field.name for field in dataclasses.fields(made) if field.init and not field.kw_only]
    assert first == POSITIONAL.get(name, [])
    assert made.__dataclass_params__.frozen
    assert "__slots__" in vars(made)


def test_every_positional_dataclass_is_there() -> None:
    assert POSITIONAL.keys() <= DATACLASSES.keys()


def test_what_is_shared_cannot_be_changed() -> None:
    """No plugin changes a table that others read."""
    tables = [(name, thing) for name, thing in public() if isinstance(thing, dict | list | set)]
    assert tables == []
    mappings = [thing for _, thing in public() if isinstance(thing, Mapping)]
    assert mappings
    for thing in mappings:
        with pytest.raises(TypeError):
            thing["text"] = None  # type: ignore[index]


def test_every_kind_that_a_model_takes_can_be_sent_and_no_other() -> None:
    models = [thing for _, thing in public() if isinstance(thing, type) and issubclass(thing, Content)]
    kinds = {
        kind: model
        for model in models
        if model not in (Content, Unknown)
        for kind in get_args(model.model_fields["kind"].annotation)
    }
    assert kinds == STANDARD_CONTENT


@pytest.mark.parametrize("hook", sorted(name for name in vars(ChannelSpec) if not name.startswith("_")))
def test_every_hook_is_called(hook: str) -> None:
    """What is declared and that nobody calls is a promise with nothing behind it."""
    callers = [
        source
        for folder in (ROOT / "core" / "waypost", ROOT / "server" / "waypost_server")
        for source in folder.rglob("*.py")
        if not source.is_relative_to(ROOT / "core" / "waypost" / "plugin")
        and not source.is_relative_to(ROOT / "core" / "waypost" / "testing")
        and source.name != "dispatch.py"
        and f".{hook}(" in source.read_text(encoding="utf-8")
    ]
    assert callers
