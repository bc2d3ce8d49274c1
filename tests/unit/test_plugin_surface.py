"""What `waypost.plugin` promises, pinned: names, signatures, fields, defaults and enum values.

A change of the public surface shows here as a diff of `plugin_surface.txt`, and so in review. Where it is meant, read
docs/plugins/versioning.md (what may change in which version), write the new surface with

    .venv/bin/python tests/unit/test_plugin_surface.py

and commit it with the change.
"""

from __future__ import annotations

import ast
import difflib
import importlib.util
from collections.abc import Iterator
from pathlib import Path

PINNED = Path(__file__).with_name("plugin_surface.txt")
#: Makes an attribute private, whatever its name.
_PUBLIC_MAGIC = frozenset({"__init__"})


def surface() -> str:
    """The public surface as text, from the source: the same on every version of Python."""
    spec = importlib.util.find_spec("waypost.plugin")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    [folder] = spec.submodule_search_locations
    lines: list[str] = []
    for path in sorted(Path(folder).glob("*.py")):
        name = "waypost.plugin" if path.stem == "__init__" else f"waypost.plugin.{path.stem}"
        lines += [f"# {name}", *_module(ast.parse(path.read_text(encoding="utf-8"))), ""]
    return "\n".join(lines)


def _module(tree: ast.Module) -> Iterator[str]:
    """A module's public names, sorted; what it imports only where that is meant to be imported from it."""
    found: list[tuple[str, list[str]]] = []
    exported = _exported(tree)
    for node in tree.body:
        if isinstance(node, ast.ImportFrom):
            again = [alias.name for alias in node.names if alias.name in exported]
            found += [(name, [f"from {node.module} import {name}"]) for name in again]
        elif isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            found.append((node.name, list(_class(node))))
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not node.name.startswith("_"):
            found.append((node.name, list(_function(node))))
        elif (name := _assigned(node)) is not None and not name.startswith("_"):
            found.append((name, [ast.unparse(node)]))
    for _, lines in sorted(found, key=lambda item: item[0]):
        yield from lines


def _exported(tree: ast.Module) -> set[str]:
    for node in tree.body:
        if isinstance(node, ast.Assign) and _assigned(node) == "__all__":
            return set(ast.literal_eval(node.value))
    return set()


def _assigned(node: ast.stmt) -> str | None:
    target = None
    if isinstance(node, ast.Assign) and len(node.targets) == 1:
        target = node.targets[0]
    elif isinstance(node, ast.AnnAssign):
        target = node.target
    return target.id if isinstance(target, ast.Name) else None


def _class(node: ast.ClassDef) -> Iterator[str]:
    yield from (f"@{ast.unparse(decorator)}" for decorator in node.decorator_list)
    bases = ", ".join(ast.unparse(base) for base in node.bases)
    yield f"class {node.name}({bases}):" if bases else f"class {node.name}:"
    for item in node.body:
        if isinstance(item, ast.FunctionDef | ast.AsyncFunctionDef):
            if not item.name.startswith("_") or item.name in _PUBLIC_MAGIC:
                yield from (f"    {line}" for line in _function(item))
            if item.name == "__init__":
                yield from (f"    {line}" for line in _attributes(item))
        elif (name := _assigned(item)) is not None and not name.startswith("_"):
            yield f"    {ast.unparse(item)}"


def _function(node: ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[str]:
    yield from (f"@{ast.unparse(decorator)}" for decorator in node.decorator_list)
    colour = "async def" if isinstance(node, ast.AsyncFunctionDef) else "def"
    answer = f" -> {ast.unparse(node.returns)}" if node.returns is not None else ""
    yield f"{colour} {node.name}({ast.unparse(node.args)}){answer}"


def _attributes(init: ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[str]:
    """The public attributes that `__init__` gives an object; their values are its own affair."""
    for node in init.body:
        target = node.targets[0] if isinstance(node, ast.Assign) else getattr(node, "target", None)
        if isinstance(target, ast.Attribute) and not target.attr.startswith("_"):
            kind = f": {ast.unparse(node.annotation)}" if isinstance(node, ast.AnnAssign) else ""
            yield f"self.{target.attr}{kind}"


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
        "    async def send(self, ctx: Context, message: OutboundMessage) -> SendResult",
        "    last_receipt: LastReceipt = 'delivered'",
        "    body: str = Field(min_length=1, max_length=65536)",
        "    EARLY_RECEIPTS = 'early_receipts'",
        "    self.retry_after",
        "ReceiptStatus = Literal['sent', 'delivered', 'read', 'undelivered', 'failed']",
    ):
        assert line in text, line


if __name__ == "__main__":
    PINNED.write_text(surface(), encoding="utf-8")
