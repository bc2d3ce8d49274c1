"""Cross-cutting plugins: middlewares around every send, in the order the configuration names them."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from importlib import metadata

import pluggy

from waypost.host.deadlines import PASSING
from waypost.plugin.spec import WRAPPERS_GROUP, SendMiddleware, WrapperSpec


class WrapperUnusableError(Exception):
    """An enabled wrapper cannot be used, and sends must not go without it: install it, or take it out of `wrappers`."""

    def __init__(self, name: str, problem: str) -> None:
        super().__init__(f"wrapper {name}: {problem}")


def load_wrappers(
    enabled: Iterable[str], *, entry_points: Iterable[metadata.EntryPoint] | None = None
) -> list[SendMiddleware]:
    """Load the enabled wrappers, first outermost. Raises `WrapperUnusableError`.

    Unlike a channel, a wrapper that is missing stops the process: an audit trail that silently is not there is worse.
    """
    found = list(entry_points) if entry_points is not None else list(metadata.entry_points(group=WRAPPERS_GROUP))
    return [_load(name, [point for point in found if point.name == name]) for name in enabled]


def faults(enabled: Iterable[str]) -> Iterable[str]:
    """What keeps enabled wrappers from being used, as far as it shows before they are asked to begin."""
    found = list(metadata.entry_points(group=WRAPPERS_GROUP))
    for name in enabled:
        try:
            _register(name, [point for point in found if point.name == name])
        except WrapperUnusableError as error:
            yield str(error)


def _load(name: str, candidates: list[metadata.EntryPoint]) -> SendMiddleware:
    manager = _register(name, candidates)
    try:
        answers = manager.hook.wrap_send()
    except PASSING:
        raise
    except BaseException as error:
        raise WrapperUnusableError(name, f"loading it raised {type(error).__name__}") from error
    if len(answers) != 1 or not inspect.iscoroutinefunction(answers[0]):
        raise WrapperUnusableError(name, "wrap_send must return one async (call, proceed) function")
    middleware: SendMiddleware = answers[0]
    return middleware


def _register(name: str, candidates: list[metadata.EntryPoint]) -> pluggy.PluginManager:
    if len(candidates) != 1:
        problem = "several distributions claim this name" if candidates else "no installed distribution provides it"
        raise WrapperUnusableError(name, problem)
    manager = pluggy.PluginManager("waypost")
    manager.add_hookspecs(WrapperSpec)
    try:
        manager.register(candidates[0].load(), name)
        manager.check_pending()
    except PASSING:
        raise
    except BaseException as error:
        raise WrapperUnusableError(name, f"loading it raised {type(error).__name__}") from error
    return manager
