"""What the checks come to: grades, the report, the lines on the terminal; and that other runs are left alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from waypost.testing.check import CHECKS
from waypost.testing.grade import Card, Grade, Result, State, report, summary

CONTRACT = """
from waypost.testing import ChannelContract


class TestContract(ChannelContract):
    plugin = "{plugin}"
    fuzz_examples = 10
    exempt = {exempt!r}
"""


def result(check: str, grade: Grade, state: State = "passed", detail: str = "") -> Result:
    return Result("acme", check, grade, f"Mend {check}.", state, detail)


def card(**states: State) -> Card:
    """A card of three checks, one of each grade, all passed but those named."""
    made = Card("acme", frozenset({"bronze", "silver", "gold"}))
    grades: tuple[Grade, ...] = ("bronze", "silver", "gold")
    for grade in grades:
        made.add(result(grade, grade, states.get(grade, "passed"), "a reason"))
    return made


@pytest.mark.parametrize(
    ("states", "grade"),
    [
        ({}, "gold"),
        ({"gold": "not_applicable", "silver": "not_applicable"}, "gold"),
        ({"gold": "failed"}, "silver"),
        ({"silver": "failed"}, "bronze"),
        ({"silver": "failed", "gold": "failed"}, "bronze"),
        ({"bronze": "failed"}, None),
        ({"gold": "exempt"}, "silver"),
        ({"silver": "exempt"}, "silver"),
        ({"bronze": "exempt"}, "silver"),
    ],
)
def test_a_grade_needs_every_check_of_it_and_below(states: dict[str, State], grade: Grade | None) -> None:
    assert card(**states).grade == grade


def test_without_every_check_there_is_no_grade() -> None:
    made = Card("acme", frozenset({"one", "two"}))
    assert made.grade is None
    made.add(result("one", "bronze"))
    assert made.grade is None
    assert made.missing == ["two"]
    made.add(result("two", "gold"))
    assert made.grade == "gold"


def test_a_failure_is_not_mended_by_a_second_contract_of_the_same_plugin() -> None:
    made = card(silver="failed")
    made.add(result("silver", "silver", "passed"))
    assert made.grade == "bronze"


def test_the_summary_names_the_grade_first_then_failures_with_advice_and_exemptions_with_reasons() -> None:
    lines = summary(card(silver="exempt", gold="failed"))
    assert lines == [
        "acme: silver (1 passed, 1 failed, 1 exempt)",
        "  failed  gold [gold]: Mend gold.",
        "  exempt  silver [silver]: a reason",
    ]


def test_the_report_is_json_and_lists_what_kept_a_plugin_from_gold() -> None:
    shown = json.loads(json.dumps(report([card(gold="failed", silver="exempt")], {"waypost": "1"})))
    assert shown["report"] == 1
    [plugin] = shown["plugins"]
    assert plugin["grade"] == "silver"
    assert plugin["failed"] == [{"check": "gold", "grade": "gold", "reason": "a reason", "advice": "Mend gold."}]
    assert plugin["exempt"] == [{"check": "silver", "grade": "silver", "reason": "a reason"}]


def run_pytest(folder: Path, site: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:randomly", "-p", "no:cacheprovider", *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(site), "PYTHONWARNINGS": ""},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


def test_a_whole_run_prints_the_grade_and_writes_the_report(installed: Path, tmp_path: Path) -> None:
    (tmp_path / "test_contract.py").write_text(CONTRACT.format(plugin="good", exempt={}))
    exempt = {"fault_500": "the provider promises that a 500 was not processed"}
    text = CONTRACT.format(plugin="server_error_transient", exempt=exempt)
    (tmp_path / "test_exempt.py").write_text(text)
    done = run_pytest(tmp_path, installed, "-n", "2", "--waypost-report", "report.json")
    assert done.returncode == 0, done.stdout
    assert "good: gold (" in done.stdout
    assert "server_error_transient: silver (" in done.stdout
    assert "exempt  fault_500 [silver]: the provider promises" in done.stdout
    plugins = {one["plugin"]: one for one in json.loads((tmp_path / "report.json").read_text())["plugins"]}
    assert plugins["good"]["grade"] == "gold"
    assert plugins["good"]["not_run"] == []
    assert [one["check"] for one in plugins["server_error_transient"]["exempt"]] == ["fault_500"]
    inapplicable = {one["check"]: one["reason"] for one in plugins["good"]["not_applicable"]}
    assert inapplicable["feature_templates"] == "it does not declare templates"


def test_a_part_of_the_checks_gives_no_grade_and_the_advice_of_what_failed(installed: Path, tmp_path: Path) -> None:
    (tmp_path / "test_contract.py").write_text(CONTRACT.format(plugin="half_units", exempt={}))
    done = run_pytest(tmp_path, installed, "-k", "price")
    assert done.returncode == 1
    assert "half_units: no grade (" in done.stdout
    assert f"failed  price_every_kind [bronze]: {CHECKS['price_every_kind'].advice}" in done.stdout
    assert f"not run {len(CHECKS) - 3} of {len(CHECKS)} checks" in done.stdout
    assert "Traceback" not in done.stdout


def test_other_runs_see_nothing_of_the_kit(tmp_path: Path) -> None:
    (tmp_path / "test_other.py").write_text(
        "import sys\n\n\ndef test_other():\n"
        "    loaded = {name for name in sys.modules if name.startswith('waypost')}\n"
        "    assert loaded == {'waypost', 'waypost.testing', 'waypost.testing.plugin'}\n"
    )
    done = run_pytest(tmp_path, tmp_path)
    assert done.returncode == 0, done.stdout
    assert "waypost" not in done.stdout
