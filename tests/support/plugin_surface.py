"""The public surface of `waypost.plugin`, read from its source. Run this file to pin it anew; see versioning.md."""

from __future__ import annotations

import ast
import importlib.util
from collections.abc import Iterator
from pathlib import Path

PINNED = Path(__file__).parents[1] / "unit" / "plugin_surface.txt"
#: Public for all its underscores: it says how a thing is made.
_PUBLIC_MAGIC = frozenset({"__init__"})


def modules() -> dict[str, ast.Module]:
    """The modules of the package by name, parsed."""
    spec = importlib.util.find_spec("waypost.plugin")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    [folder] = spec.submodule_search_locations
    return {
        "waypost.plugin" if path.stem == "__init__" else f"waypost.plugin.{path.stem}": ast.parse(
            path.read_text(encoding="utf-8")
        )
        for path in sorted(Path(folder).glob("*.py"))
    }


def names(tree: ast.Module) -> list[str]:
    """The public names that a module defines."""
    return sorted(name for node in tree.body for name in _defined(node) if not name.startswith("_"))


def surface() -> str:
    """The public surface as text, from the source: the same on every version of Python."""
    lines: list[str] = []
    for name, tree in modules().items():
        lines += [f"# {name}", *_module(tree), ""]
    return "\n".join(lines)


def _module(tree: ast.Module) -> Iterator[str]:
    """A module's public names, sorted; what it imports only where that is meant to be imported from it."""
    found: list[tuple[str, list[str]]] = []
    exported = _exported(tree)
    for node in tree.body:
        if isinstance(node, ast.ImportFrom):
            again = [alias.name for alias in node.names if alias.name in exported]
            found += [(name, [f"from {node.module} import {name}"]) for name in again]
        else:
            public = [name for name in _defined(node) if not name.startswith("_")]
            found += [(name, _promise(node)) for name in public[:1]]
    for _, lines in sorted(found, key=lambda item: item[0]):
        yield from lines


def _promise(node: ast.stmt) -> list[str]:
    if isinstance(node, ast.ClassDef):
        return list(_class(node))
    return list(_function(node)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) else [ast.unparse(node)]


def _exported(tree: ast.Module) -> set[str]:
    for node in tree.body:
        if isinstance(node, ast.Assign) and _defined(node) == ["__all__"]:
            return set(ast.literal_eval(node.value))
    return set()


def _defined(node: ast.stmt) -> list[str]:
    """The names that a statement defines."""
    if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
        return [node.name]
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    return [part.id for target in targets for part in ast.walk(target) if isinstance(part, ast.Name)]


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
        elif any(not name.startswith("_") for name in _defined(item)):
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


if __name__ == "__main__":
    PINNED.write_text(surface(), encoding="utf-8")
