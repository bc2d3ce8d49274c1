"""One check of the contract: its id, the grade it counts for, and one sentence of advice for whoever fails it."""

from __future__ import annotations

import asyncio
import inspect
import textwrap
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar, cast

import pytest
from _pytest.outcomes import Skipped

from waypost.testing.grade import Grade

Method = TypeVar("Method", bound=Callable[..., Any])

PREFIX = "test_"
#: The check that the plugin loads at all; without it none of the others can run.
LOADING = "plugin_loads"


@dataclass(frozen=True, slots=True)
class Check:
    """A check: `id` is stable and named in exemptions and reports."""

    id: str
    grade: Grade
    advice: str


#: Every check of the kit, by id, in the order of their definition.
CHECKS: dict[str, Check] = {}


class CheckFailed(AssertionError):
    """The plugin does not keep this part of the contract."""


class NotApplicable(Skipped):
    """What the plugin declares makes this check meaningless."""

    waypost_state: ClassVar[str] = "not_applicable"


class NotLoaded(Skipped):
    """The plugin does not load, which a check of its own says; this one did not run."""

    waypost_state: ClassVar[str] = "not_run"


class Exempt(Skipped):
    """The author exempts the plugin from this check, with a reason."""

    waypost_state: ClassVar[str] = "exempt"


def check(grade: Grade, advice: str) -> Callable[[Method], Method]:
    """Make a check of a method named `test_<id>`; it may be a coroutine function, and says `CheckFailed`.

    The result is an ordinary function whichever pytest plugins for asyncio are installed, and whatever their mode.
    """

    def decorate(method: Method) -> Method:
        made = Check(method.__name__.removeprefix(PREFIX), grade, advice)
        CHECKS[made.id] = made

        def run(self: Any) -> None:
            reason = self.exempt.get(made.id)
            if reason is not None and made.id != "exemptions_stated":
                raise Exempt(f"exempt: {reason}")
            if made.id != LOADING and _problem(lambda subject: subject.channel, self) is not None:
                raise NotLoaded("not run: the plugin does not load")
            problem = _problem(method, self)
            if problem is not None:
                told = textwrap.indent(problem, "  ")
                pytest.fail(f"{made.id}: {self.plugin} does not keep the contract\n{told}\n  → {advice}", pytrace=False)

        run.__name__ = run.__qualname__ = method.__name__
        run.__doc__ = method.__doc__
        run.__module__ = method.__module__
        run.waypost_check = made  # type: ignore[attr-defined]
        return cast("Method", run)

    return decorate


def _problem(method: Callable[..., Any], subject: Any) -> str | None:
    """Do a check, and return what it holds against the plugin."""
    try:
        outcome = method(subject)
        if inspect.iscoroutine(outcome):
            _finish(outcome)
    except CheckFailed as failure:
        return str(failure)
    return None


def _finish(work: Coroutine[Any, Any, None]) -> None:
    with asyncio.Runner() as runner:
        runner.run(work)
