"""docs/plugins/testing.md names every check with its sentence, and nothing else."""

from __future__ import annotations

import re
from pathlib import Path

from waypost.testing.check import CHECKS
from waypost.testing.contract import check_ids
from waypost.testing.grade import GRADES

PAGE = Path(__file__).parents[2] / "docs" / "plugins" / "testing.md"


def test_the_page_is_in_step_with_the_kit() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \| (.+) \|$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    wanted = sorted(
        ((check.id, check.grade, check.advice) for check in CHECKS.values()),
        key=lambda row: (GRADES.index(row[1]), row[0]),
    )
    assert check_ids() == CHECKS.keys()
    assert rows == wanted
