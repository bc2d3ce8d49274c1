"""A plugin fresh from the scaffold, unedited: clean, and gold as a wheel beside the wheels of core and server.

The virtual environment is new. Third parties' packages come from the workspace's, by a path file that is put last;
Waypost and the plugin come from the wheels only.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest
from waypost_server.scaffold import Blueprint, render

ROOT = Path(__file__).parents[2]


def run(*command: str | Path, folder: Path, **environment: str) -> str:
    done = subprocess.run(
        [str(part) for part in command],
        cwd=folder,
        env={key: value for key, value in os.environ.items() if not key.startswith(("PYTEST", "PYTHON", "COV"))}
        | environment,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def acme(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scaffold") / "acme_sms"
    render(Blueprint.of("acme_sms"), folder)
    return folder


def test_it_is_formatted_linted_and_typed_like_our_own(acme: Path) -> None:
    run(sys.executable, "-m", "ruff", "check", "--config", ROOT / "pyproject.toml", ".", folder=acme)
    run(sys.executable, "-m", "ruff", "format", "--check", "--config", ROOT / "pyproject.toml", ".", folder=acme)
    run(sys.executable, "-m", "mypy", "--strict", "--cache-dir", acme.parent / "cache", "acme_sms", folder=acme)


def test_it_imports_the_plugin_api_and_nothing_else_of_ours(acme: Path) -> None:
    for file in (acme / "acme_sms").glob("*.py"):
        ours = [
            line for line in file.read_text().splitlines() if line.lstrip().startswith(("from waypost", "import way"))
        ]
        assert all("from waypost.plugin" in line for line in ours), file


@pytest.mark.timeout(240)
def test_its_wheel_is_gold_in_a_clean_environment(tmp_path: Path) -> None:
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet")
    site = next((clean_environment(tmp_path / "venv") / "lib").glob("python*/site-packages"))
    python = tmp_path / "venv" / "bin" / "python"

    def install(*sources: Path, wheels: Path) -> None:
        run(*pip, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", wheels, *sources, folder=tmp_path)
        run(*pip, "install", "--no-index", "--no-deps", "--target", site, *wheels.iterdir(), folder=tmp_path)

    install(ROOT / "core", ROOT / "server", wheels=tmp_path / "ours")
    run(python, "-m", "waypost_server.cli", "plugin", "new", "acme_sms", folder=tmp_path)
    install(tmp_path / "acme_sms", wheels=tmp_path / "theirs")
    assert [wheel.name for wheel in (tmp_path / "theirs").iterdir()] == ["acme_sms-0.1.0-py3-none-any.whl"]

    # Its suite alone, so that the package cannot come from the folder.
    suite = tmp_path / "suite"
    shutil.copytree(tmp_path / "acme_sms" / "tests", suite / "tests")
    shutil.copy(tmp_path / "acme_sms" / "pyproject.toml", suite)
    where = (
        "import waypost, waypost_server, acme_sms as a; print(waypost.__file__, waypost_server.__file__, a.__file__)"
    )
    places = run(python, "-c", where, folder=suite).split()
    assert [place.startswith(str(site)) for place in places] == [True, True, True]
    out = run(python, "-m", "pytest", "-p", "no:cacheprovider", "-n", "2", folder=suite)
    assert "acme_sms: gold (" in out
    assert "failed" not in out


def clean_environment(folder: Path) -> Path:
    """A new virtual environment that borrows third parties' packages, and nothing of ours."""
    venv.create(folder, with_pip=False)
    site = next((folder / "lib").glob("python*/site-packages"))
    # A plain path, and last: what is installed here wins, and the workspace's editable installs are not followed.
    (site / "third_parties.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return folder
