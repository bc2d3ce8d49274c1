"""The tutorial as a newcomer goes through it: its commands are run, its changes applied, its output compared."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

_BLOCK = re.compile(r"^```(console|diff|python)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_FILE = re.compile(r"^# file: (\S+)\n", re.MULTILINE)


class Newcomer:
    """Somebody with a shell. What `pip install -e` would make known is on the path instead."""

    def __init__(self, folder: Path) -> None:
        self._home = self.folder = folder
        self._site = folder / "site"
        self._site.mkdir()

    def command(self, line: str) -> str:
        """Run a command and return what it printed."""
        words = shlex.split(line)
        variables = dict(word.split("=", 1) for word in words if re.match(r"[A-Z_]+=", word))
        words = words[len(variables) :]
        match words[0]:
            case "cd":
                self.folder /= words[1]
                return ""
            case "pip":
                return self._install()
            case "pytest":
                return self._run([sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *words[1:]], variables)
            case _:
                return self._run([sys.executable, "-m", "waypost_server.cli", *words[1:]], variables)

    def _install(self) -> str:
        """Build the wheel for its metadata, and leave the modules to the folder: an editable install beside ours."""
        shutil.rmtree(self._site)
        options = ["--quiet", "--no-index", "--no-deps", "--no-build-isolation", "--target", str(self._site)]
        pip = {"PIP_CONFIG_FILE": os.devnull, "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
        said = self._run([sys.executable, "-m", "pip", "install", *options, "."], pip)
        assert list(self._site.glob("*.dist-info")), said
        for package in (path for path in self._site.iterdir() if path.suffix != ".dist-info"):
            shutil.rmtree(package)
        shutil.rmtree(self.folder / "build", ignore_errors=True)
        return said

    def _run(self, words: list[str], variables: dict[str, str]) -> str:
        ours = {name: value for name, value in os.environ.items() if not name.startswith(("WAYPOST_", "PYTEST_"))}
        path = os.pathsep.join([str(self.folder), str(self._site)])
        done = subprocess.run(
            words, cwd=self.folder, env={**ours, "PYTHONPATH": path, "COLUMNS": "200", **variables},
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120, check=False,
        )  # fmt: skip
        return done.stdout

    def change(self, diff: str) -> None:
        """Apply a diff of this page: a file, then pieces that are each found exactly once in it."""
        first, _, pieces = diff.partition("\n")
        path = self.folder / first.removeprefix("--- ")
        for piece in pieces.split("@@\n"):
            lines = piece.splitlines()
            old = "\n".join(line[1:] for line in lines if line[:1] in ("-", " "))
            new = "\n".join(line[1:] for line in lines if line[:1] in ("+", " "))
            text = path.read_text(encoding="utf-8")
            assert text.count(old) == 1, f"{path.name} has this {text.count(old)} times:\n{old}"
            path.write_text(text.replace(old, new), encoding="utf-8")


@pytest.fixture
def steps(guide: dict[str, str]) -> Iterator[tuple[str, str]]:
    """The tutorial's blocks in order: their language and their text."""
    return ((block[1], block[2]) for block in _BLOCK.finditer(guide["tutorial.md"]))


@pytest.mark.timeout(400)
def test_the_tutorial_leads_to_gold(steps: Iterator[tuple[str, str]], tmp_path: Path) -> None:
    newcomer = Newcomer(tmp_path)
    commands = 0
    for language, text in steps:
        if language == "diff":
            newcomer.change(text)
        elif language == "python":
            named = _FILE.search(text)
            assert named is not None, text
            (newcomer.folder / named[1]).write_text(text.replace(named[0], ""), encoding="utf-8")
        else:
            said = ""
            for line in text.splitlines():
                if line.startswith("$ "):
                    said = newcomer.command(line.removeprefix("$ "))
                    commands += 1
                else:
                    assert line in said, f"{line!r} is not in\n{said}"
    assert commands > 8
