"""What may be wrong with an operation. Every message is one sentence that says what to do next."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar


def one_stop(text: str) -> str:
    """A sentence that ends with a sentence of others, with one full stop at its end."""
    return text.removesuffix(".") if text.endswith("..") else text


class OperationError(Exception):
    """The operation was refused; correct what the message names."""

    code: ClassVar[str] = "refused"

    def __init__(self, detail: str = "") -> None:
        super().__init__(one_stop(detail) or " ".join((type(self).__doc__ or "").split()))


class UnknownOperationError(OperationError):
    """There is no such operation; this release of Waypost may be older than the one that asks."""

    code = "unknown_operation"


class InvalidArgumentError(OperationError):
    """An argument is wrong; correct the one that the message names."""

    code = "invalid_argument"

    def __init__(self, argument: str, problem: str) -> None:
        super().__init__(f"{argument}: {problem}")


class NotFoundError(OperationError):
    """There is nothing of this name or id; list what there is."""

    code = "not_found"

    def __init__(self, noun: str, reference: str, group: str) -> None:
        super().__init__(f"There is no {noun} {reference!r}; `waypost {group} list` shows what there is.")


class AmbiguousError(OperationError):
    """Several things have this name; use the id."""

    code = "ambiguous"

    def __init__(self, noun: str, reference: str, ids: Iterable[str]) -> None:
        super().__init__(f"Several {noun}s are called {reference!r}; use an id: {', '.join(ids)}.")


class NameTakenError(OperationError):
    """This name is taken; choose another."""

    code = "name_taken"

    def __init__(self, noun: str, name: str) -> None:
        super().__init__(f"There already is {noun} {name!r}; choose another name.")


class ConflictError(OperationError):
    """Somebody else changed the same thing at this moment; look at it and try again."""

    code = "conflict"


class CreditError(OperationError):
    """The organization's credit does not allow this; look at it with `waypost credit show`."""

    code = "credit"


class PluginUnavailableError(OperationError):
    """The channel plugin is not loaded; enable it in WAYPOST_CHANNELS."""

    code = "plugin_unavailable"


class PluginRefusedError(OperationError):
    """The channel plugin could not do this; its message says why."""

    code = "plugin_refused"
