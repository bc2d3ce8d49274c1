"""Operations: what an operator may do, by name. The one service layer under the command line.

::

    operator = Operator(database=…, vault=…, records=…, config=…, actor="cli:ada")
    made = await call(operator, "orgs.create", {"name": "Acme", "currency": "SGD"})

Arguments and answers are JSON. Every change is one transaction with its entry in the audit log. Whatever an operator
can mend is an `OperationError`, whose message is one sentence.
"""

from waypost.operations import (
    accounts,
    apps,
    audit,
    cancellation,
    channels,
    credit,
    doctor,
    gateways,
    keys,
    messages,
    nodes,
    organizations,
    provider_apps,
    rates,
    routes,
    webhooks,
)
from waypost.operations.errors import OperationError
from waypost.operations.operator import Operator
from waypost.operations.registry import OPERATIONS, Operation, call

__all__ = [
    "OPERATIONS",
    "Operation",
    "OperationError",
    "Operator",
    "accounts",
    "apps",
    "audit",
    "call",
    "cancellation",
    "channels",
    "credit",
    "doctor",
    "gateways",
    "keys",
    "messages",
    "nodes",
    "organizations",
    "provider_apps",
    "rates",
    "routes",
    "webhooks",
]
