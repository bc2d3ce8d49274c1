"""The `Prefer` header (RFC 7240): how long a caller wants to wait for the provider's verdict."""

from __future__ import annotations

import re
from collections.abc import Iterable

_WAIT = re.compile(r'wait\s*=\s*"?([0-9]{1,9})"?')


def waiting(prefer: Iterable[str], default: float, longest: float) -> tuple[float, str | None]:
    """How long to wait in seconds, and the `Preference-Applied` that says so, if anything was asked for.

    `respond-async` alone does not wait at all; with `wait=N` it means N, as RFC 7240 §4.3 has it.
    """
    wait: float | None = None
    at_once = False
    for preference in ",".join(prefer).lower().split(","):
        name = preference.partition(";")[0].strip()
        if name == "respond-async":
            at_once = True
        elif wait is None and (asked := _WAIT.fullmatch(name)):
            wait = min(float(asked[1]), longest)
    if wait is not None:
        applied = f"wait={wait:g}"
        return wait, f"respond-async, {applied}" if at_once else applied
    return (0.0, "respond-async") if at_once else (default, None)
