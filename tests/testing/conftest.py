"""Installs the scaffold's plugin and its broken variants without pip: packages on the path, entry points beside."""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from waypost_server.scaffold import Blueprint, render

BROKEN = Path(__file__).parent / "broken"
EXAMPLES = Path(__file__).parents[2] / "examples"
OWN_MODULES = ("raises_at_import", "connects_at_import", "slow_at_import")


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder that holds them; it is on the path meanwhile."""
    folder = tmp_path_factory.mktemp("site")
    render(Blueprint.of("acme_sms"), folder / "source")
    shutil.copytree(folder / "source" / "acme_sms", folder / "acme_sms")
    shutil.copytree(EXAMPLES / "line_channel" / "waypost_line", folder / "waypost_line")
    for module in BROKEN.glob("*.py"):
        shutil.copy(module, folder / module.name)
    variants = re.findall(r"^(?:class \w+|([a-z_, \n]+)) = ", (BROKEN / "broken_channels.py").read_text(), re.MULTILINE)
    names = {name.strip() for group in variants for name in group.split(",") if name.strip()}
    lines = [f"{name} = broken_channels:{name}" for name in sorted(names)]
    lines += [f"{module} = {module}:channel" for module in OWN_MODULES]
    distribution = folder / "broken-1.0.dist-info"
    distribution.mkdir()
    (distribution / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 1.0\n")
    (distribution / "entry_points.txt").write_text("\n".join(["[waypost.channels.v1]", *lines, ""]))
    sys.path.insert(0, str(folder))
    yield folder
    sys.path.remove(str(folder))
