"""Wheels of the examples, built and installed beside the workspace's environment, never into it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

import pytest
from gateway_process import Running

SCRIPT = Path(__file__).with_name("a_strangers_gateway.py")
EXAMPLES = Path(__file__).parents[2] / "examples"
# A made-up provider, for the tests of what is not HTTP; it is imported from where it lies.
sys.path.insert(0, str(EXAMPLES / "line_channel"))

Installed = Callable[..., Path]
Run = Callable[..., Running]


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


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    """Start a gateway whose Python finds what is installed in a folder."""
    processes: list[subprocess.Popen[str]] = []
    logs: list[IO[str]] = []

    def start(folder: Path, plugin: str, skus: str, **environment: str) -> Running:
        log = tmp_path / "log"
        logs.append(log.open("w"))
        url = f"sqlite:///{tmp_path}/waypost.db"
        process = subprocess.Popen(
            [sys.executable, str(SCRIPT), plugin, skus],
            env={
                **{name: value for name, value in os.environ.items() if not name.startswith("WAYPOST_")},
                "PYTHONPATH": str(folder),
                "WAYPOST_DATABASE_URL": url,
                "WAYPOST_MASTER_KEY_FILE": str(tmp_path / "master.key"),
                "WAYPOST_CHANNELS": plugin,
                "WAYPOST_POLL": "0.05",
                **environment,
            },
            cwd=tmp_path, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=logs[-1], text=True,
        )  # fmt: skip
        processes.append(process)
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, log.read_text()
        return Running(process, url, log, json.loads(line))

    yield start
    for process in processes:
        if process.poll() is None:
            process.kill()
        process.communicate()
    for file in logs:
        file.close()
