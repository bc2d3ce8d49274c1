"""Wheels of the examples, built and installed beside the workspace's environment, never into it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
Installed = Callable[..., Path]


def pip(*arguments: str | Path) -> None:
    """Run pip without index and without a look at the user's configuration."""
    environment = {
        **os.environ,
        "PIP_NO_INDEX": "1",
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    }
    done = subprocess.run(
        [sys.executable, "-m", "pip", "--quiet", *map(str, arguments)],
        env=environment, capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """Build the wheels of these examples and install them into a folder of their own."""
    wheels: dict[str, Path] = {}

    def wheel(example: str) -> Path:
        if example not in wheels:
            folder = tmp_path_factory.mktemp("wheel")
            pip("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", folder, EXAMPLES / example)
            [wheels[example]] = folder.glob("*.whl")
        return wheels[example]

    def install(*examples: str) -> Path:
        folder = tmp_path_factory.mktemp("installed")
        pip("install", "--no-index", "--no-deps", "--target", folder, *map(wheel, examples))
        return folder

    return install
