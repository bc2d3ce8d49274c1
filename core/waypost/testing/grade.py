"""What the checks of one plugin come to: a grade, and a report that can be stored."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Grade = Literal["bronze", "silver", "gold"]
State = Literal["passed", "failed", "exempt", "not_applicable"]

GRADES: tuple[Grade, ...] = ("bronze", "silver", "gold")
#: So many checks that did not run are named.
MOST_NAMED = 8
#: The form of the JSON report.
REPORT_VERSION = 1


@dataclass(frozen=True, slots=True)
class Result:
    """One check's outcome; `detail` is why it failed or was not held against the plugin."""

    plugin: str
    check: str
    grade: Grade
    advice: str
    state: State
    detail: str = ""


@dataclass(slots=True)
class Card:
    """All results of one plugin. `expected` are the ids of the checks that make a full run."""

    plugin: str
    expected: frozenset[str] = frozenset()
    results: dict[str, Result] = field(default_factory=dict)

    def add(self, result: Result) -> None:
        """Take a result in; a failure is never replaced by something better."""
        known = self.results.get(result.check)
        if known is None or known.state != "failed":
            self.results[result.check] = result

    def having(self, state: State) -> list[Result]:
        """The results in one state, by id."""
        return sorted((result for result in self.results.values() if result.state == state), key=lambda one: one.check)

    @property
    def missing(self) -> list[str]:
        """The checks that did not run."""
        return sorted(self.expected - self.results.keys())

    @property
    def grade(self) -> Grade | None:
        """The highest grade all of whose checks, and those below, hold. None where bronze fails or checks did not run.

        An exemption keeps a plugin from gold, however good its reason.
        """
        if self.missing or not self.results:
            return None
        failed = {result.grade for result in self.having("failed")}
        reached: Grade | None = None
        for grade in GRADES:
            if grade in failed or (grade == "gold" and self.having("exempt")):
                break
            reached = grade
        return reached

    def as_dict(self) -> dict[str, Any]:
        """The card as JSON holds it."""
        return {
            "plugin": self.plugin,
            "grade": self.grade,
            "passed": len(self.having("passed")),
            "failed": [_shown(result, advice=True) for result in self.having("failed")],
            "exempt": [_shown(result) for result in self.having("exempt")],
            "not_applicable": [_shown(result) for result in self.having("not_applicable")],
            "not_run": self.missing,
        }


def _shown(result: Result, *, advice: bool = False) -> dict[str, Any]:
    shown = {"check": result.check, "grade": result.grade, "reason": result.detail}
    return {**shown, "advice": result.advice} if advice else shown


def report(cards: Iterable[Card], versions: Mapping[str, str]) -> dict[str, Any]:
    """The JSON report of a run."""
    plugins = [card.as_dict() for card in sorted(cards, key=lambda card: card.plugin)]
    return {"report": REPORT_VERSION, "versions": dict(versions), "plugins": plugins}


def summary(card: Card) -> list[str]:
    """A card as lines for a terminal, the grade first, then every failure with its advice and every exemption."""
    counts = ", ".join(
        f"{len(found)} {state.replace('_', ' ')}"
        for state in ("passed", "failed", "exempt", "not_applicable")
        if (found := card.having(state))
    )
    lines = [f"{card.plugin}: {card.grade or 'no grade'} ({counts})"]
    lines.extend(f"  failed  {result.check} [{result.grade}]: {result.advice}" for result in card.having("failed"))
    lines.extend(f"  exempt  {result.check} [{result.grade}]: {result.detail}" for result in card.having("exempt"))
    if card.missing:
        few = (
            card.missing if len(card.missing) <= MOST_NAMED else [f"{len(card.missing)} of {len(card.expected)} checks"]
        )
        lines.append(f"  not run {', '.join(few)}")
    return lines
