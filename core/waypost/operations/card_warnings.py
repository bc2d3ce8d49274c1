"""What may not be meant on a rate card: skus that nothing is metered in, prefixes that no destination begins with."""

from __future__ import annotations

from collections.abc import Iterable

from phonenumbers import COUNTRY_CODE_TO_REGION_CODE

from waypost.operations import accounts
from waypost.operations.errors import OperationError
from waypost.operations.operator import Operator
from waypost.store.gateways import Gateway
from waypost.store.rates import Rate

#: So many are named in one warning.
MOST_NAMED = 5
LONGEST_NUMBER = 15
#: Recipients for examples, of whom a channel knows one kind or none; nothing is sent to them.
_SOMEBODY = (None, "+6591234567", "somebody@example.com")


async def about(operator: Operator, gateway: Gateway, rows: Iterable[Rate]) -> list[str]:
    """Warnings, none where the gateway's plugin is not loaded here: then nobody knows."""
    record = operator.records.get(gateway.plugin)
    if record is None or record.plugin is None or record.plugin.halted:
        return []
    given = list(rows)
    kinds = frozenset(record.plugin.info.address_kinds)
    odd = sorted({row.prefix for row in given if row.prefix and not _begins_something(row.prefix, kinds)})
    warnings = (
        [f"No destination of {gateway.name} begins with {_named(odd)}; its rates apply to nothing."] if odd else []
    )
    metered = {sku for to in _SOMEBODY for sku in await _metered(operator, gateway, to)}
    unknown = sorted({row.sku for row in given} - metered)
    if metered and unknown:
        warnings.append(
            f"No example of {gateway.plugin}'s is metered in {_named(unknown)}, only in {_named(sorted(metered))}; "
            "see on its page whether anything is."
        )
    return warnings


async def _metered(operator: Operator, gateway: Gateway, to: str | None) -> set[str]:
    try:
        return {row["sku"] for row in await accounts.skus(operator, gateway=gateway.id, to=to)}
    except OperationError:
        return set()  # not an address of this channel; or its account cannot be opened, which others say


def _begins_something(prefix: str, kinds: frozenset[str]) -> bool:
    """Whether some destination may begin so: the digits of a number, a domain, or what another kind of address is."""
    if "@" in prefix:
        return False
    is_number = prefix.isascii() and prefix.isdecimal()
    if "e164" not in kinds or (len(kinds) > 1 and not is_number):
        return True
    return (
        is_number
        and len(prefix) <= LONGEST_NUMBER
        and any(prefix.startswith(code) or code.startswith(prefix) for code in map(str, COUNTRY_CODE_TO_REGION_CODE))
    )


def _named(names: list[str]) -> str:
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return ", ".join(names[:MOST_NAMED]) + more
