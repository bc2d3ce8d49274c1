"""The wrapper: a line before each send, a line after it, nothing in between changed."""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from waypost.plugin import ChannelError, Proceed, SendCall, SendMiddleware, SendResult, Transient, hookimpl

from waypost_audit_trail.trail import Trail

#: The environment variable that names the file.
FILE_VARIABLE = "AUDIT_TRAIL_FILE"


class TrailNotConfiguredError(Exception):
    """No file is named for the audit trail; set AUDIT_TRAIL_FILE, or take audit_trail out of `wrappers`."""

    def __init__(self) -> None:
        super().__init__(type(self).__doc__)


class AuditTrail:
    """Writes who sent what kind of thing through which gateway, and what came of it: ids, never content or addresses.

    The provider's own ids are left out, since some (a chat's number) are addresses.
    """

    @hookimpl
    def wrap_send(self) -> SendMiddleware:
        """Open the file. Raises `TrailNotConfiguredError` or `OSError`: then the process does not start."""
        path = os.environ.get(FILE_VARIABLE)
        if not path:
            raise TrailNotConfiguredError
        return middleware(Trail(Path(path)))


def middleware(trail: Trail) -> SendMiddleware:
    """The middleware that writes to this trail."""

    async def audited(call: SendCall, proceed: Proceed) -> SendResult:
        began = time.monotonic()
        try:
            trail.append(_line("begin", call))
        except OSError as error:
            # Nothing was sent yet: no send without its line.
            raise Transient("The audit trail cannot be written.") from error
        outcome, code = "cancelled", None
        try:
            result = await proceed(call)
            outcome = result.status
            return result
        except ChannelError as error:
            outcome, code = type(error).__name__, error.provider_code
            raise
        except Exception as error:
            outcome = type(error).__name__
            raise
        finally:
            _close(trail, call, outcome, code, round((time.monotonic() - began) * 1000, 3))

    return audited


def _close(trail: Trail, call: SendCall, outcome: str, code: str | None, milliseconds: float) -> None:
    try:
        trail.append(_line("end", call, outcome=outcome, provider_code=code, ms=milliseconds))
    except OSError as error:
        # The message may be out: its outcome must reach the core, whatever became of the trail.
        call.ctx.log.error("audit_trail.not_written", attempt=call.ctx.correlation, problem=type(error).__name__)


def _line(event: str, call: SendCall, **more: Any) -> dict[str, Any]:
    return {
        "at": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "event": event,
        "attempt": call.ctx.correlation,
        "gateway": call.ctx.gateway_id,
        "plugin": call.plugin,
        "channel": call.message.channel,
        "kind": call.message.content.kind,
        **more,
    }


audit_trail = AuditTrail()
