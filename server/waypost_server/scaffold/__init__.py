"""A new plugin from templates: a complete distribution that keeps the contract as it is.

The templates are the files beside this one that end in `.in`. In their text and in their paths, `__NAME__` stands for
the plugin's id (and its package), `__CLASS__` for its class, `__TITLE__`, `__CHANNEL__` and `__DIST__` for the rest;
`dot-` stands for the dot that hides a file.
"""

from __future__ import annotations

import keyword
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path

ENDING = ".in"
_NAME = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
_LONGEST = 40


class UnusableNameError(ValueError):
    """A plugin's name is lower-case letters, digits and single underscores, and no module of Python's."""


class FolderInUseError(Exception):
    """The folder is there already and is not empty; choose another with --folder, or empty it."""


@dataclass(frozen=True, slots=True)
class Blueprint:
    """The words that stand in for the placeholders."""

    name: str
    channel: str

    @classmethod
    def of(cls, name: str, channel: str | None = None) -> Blueprint:
        """The words for a name. The channel is its last word, unless given. Raises `UnusableNameError`."""
        plain = name.replace("-", "_")
        taken = keyword.iskeyword(plain) or plain in sys.stdlib_module_names or plain.split("_")[0] == "waypost"
        if not _NAME.fullmatch(plain) or len(plain) > _LONGEST or taken:
            raise UnusableNameError(UnusableNameError.__doc__)
        return cls(plain, channel.upper() if channel else plain.rsplit("_", 1)[-1].upper())

    @property
    def words(self) -> dict[str, str]:
        """Placeholder → word."""
        parts = self.name.split("_")
        return {
            "__NAME__": self.name,
            "__CLASS__": "".join(part.capitalize() for part in parts),
            "__TITLE__": " ".join(part.upper() if part == "sms" else part.capitalize() for part in parts),
            "__DIST__": "-".join(parts),
            "__CHANNEL__": self.channel,
        }

    def fill(self, text: str) -> str:
        """The text with the words in place."""
        for placeholder, word in self.words.items():
            text = text.replace(placeholder, word)
        return text


def render(blueprint: Blueprint, folder: Path) -> list[Path]:
    """Write a plugin into a folder and return its files. Raises `FolderInUseError`."""
    if folder.exists() and any(folder.iterdir()):
        raise FolderInUseError(FolderInUseError.__doc__)
    written = []
    for path, text in _templates(resources.files(__package__), ""):
        target = folder / blueprint.fill(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(blueprint.fill(text), encoding="utf-8")
        written.append(target)
    return sorted(written)


def _templates(folder: Traversable, path: str) -> Iterator[tuple[str, str]]:
    for entry in folder.iterdir():
        name = "." + entry.name.removeprefix("dot-") if entry.name.startswith("dot-") else entry.name
        if entry.is_dir():
            yield from _templates(entry, f"{path}{name}/")
        elif name.endswith(ENDING):
            yield path + name.removesuffix(ENDING), entry.read_text(encoding="utf-8")
