"""The pytest plugin: gathers the results of contract checks, prints each plugin's grade, writes the report.

It is loaded in every pytest run where Waypost is installed, so that it imports next to nothing and does nothing
until a contract check has run.
"""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from waypost.testing.grade import Card

_PROPERTY = "waypost_contract"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--waypost-report`."""
    group = parser.getgroup("waypost", "Waypost's contract kit")
    group.addoption("--waypost-report", metavar="FILE", default=None, help="write the contract's results as JSON")


def pytest_configure(config: pytest.Config) -> None:
    """Gather in the process that reports: a worker of pytest-xdist hands its results over."""
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(Gatherer(config), "waypost-contract")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Put a check's result into its report."""
    report = yield
    made = getattr(getattr(item, "function", None), "waypost_check", None)
    if made is not None and (report.when == "call" or report.failed):
        result = _result(item, call, report, made)
        if result["state"] != "not_run":
            report.user_properties.append((_PROPERTY, result))
    return report


def _result(item: pytest.Item, call: pytest.CallInfo[None], report: pytest.TestReport, made: Any) -> dict[str, Any]:
    error = call.excinfo.value if call.excinfo is not None else None
    state = getattr(error, "waypost_state", "passed" if report.passed else "failed")
    detail = "" if error is None else str(getattr(error, "msg", None) or f"{type(error).__name__}: {error}")
    if state in ("exempt", "not_applicable"):
        detail = detail.partition(": ")[2] or detail
    plugin = getattr(getattr(item, "cls", None), "plugin", "")
    return {
        "plugin": plugin,
        "check": made.id,
        "grade": made.grade,
        "advice": made.advice,
        "state": state,
        "detail": detail,
    }


class Gatherer:
    """Gathers results from reports, wherever they ran."""

    def __init__(self, config: pytest.Config) -> None:
        self._target: str | None = config.getoption("--waypost-report")
        self.cards: dict[str, Card] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Take a result in."""
        for name, value in report.user_properties:
            if name == _PROPERTY and isinstance(value, dict):
                self._take(value)

    def _take(self, value: dict[str, Any]) -> None:
        from waypost.testing.contract import check_ids
        from waypost.testing.grade import Card, Result

        result = Result(**value)
        card = self.cards.setdefault(result.plugin, Card(result.plugin, check_ids()))
        card.add(result)

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        """Print the grades."""
        if not self.cards:
            return
        from waypost.testing.grade import summary

        terminalreporter.section("waypost contract")
        for _, card in sorted(self.cards.items()):
            for line in summary(card):
                terminalreporter.write_line(line)

    def pytest_sessionfinish(self) -> None:
        """Write the report."""
        if self._target is None:
            return
        import json
        from importlib.metadata import version

        from waypost.testing.grade import report

        document = report(self.cards.values(), {"waypost": version("waypost"), "pytest": pytest.__version__})
        Path(self._target).write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
