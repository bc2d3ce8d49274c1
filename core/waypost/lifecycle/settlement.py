"""When a step's money is closed, and what it then costs.

A step is settled when its status reaches the lower of what its plugin can prove (`last_receipt`) and DELIVERED, or an
end, or when its gateway's receipt window closes. What is charged then depends on the status alone:

======================================  ==============================================
status                                  lines charged
======================================  ==============================================
``SENT``, ``UNDELIVERED``               those charged on ``sent``
``DELIVERED``, ``READ``                 all
``FAILED``, ``EXPIRED``, ``CANCELED``   none
======================================  ==============================================

Evidence that comes after the settlement and changes the status changes the charge by a correction of its own, so that
the final charge does not depend on the order in which the evidence came.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from waypost.lifecycle.status import NEGATIVE_ENDS, POSITIVE_ENDS, StepStatus
from waypost.plugin.types import ChargeOn, LastReceipt


@dataclass(slots=True)
class PricedLine:
    """A metered line with the price that was pinned when the message was accepted, in micros for all its units."""

    sku: str
    quantity: int
    charge_on: ChargeOn
    amount: int
    rate_id: str


def is_settled(status: StepStatus, last_receipt: LastReceipt) -> bool:
    """Whether the step's money is to be closed now."""
    if status.status in POSITIVE_ENDS or status.status in NEGATIVE_ENDS:
        return True
    return status.status == "SENT" and (status.window_closed or last_receipt == "sent")


def charge(status: StepStatus, lines: Sequence[PricedLine]) -> int:
    """What the step costs at this status, in micros."""
    if status.status in POSITIVE_ENDS:
        return sum(line.amount for line in lines)
    if status.status in ("SENT", "UNDELIVERED"):
        return sum(line.amount for line in lines if line.charge_on == "sent")
    return 0
