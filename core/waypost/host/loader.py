"""From entry points to plugins: each is loaded, disabled, incompatible or failed, with a reason, and none takes the
process down.

The stock loader of pluggy is not used: it imports everything installed, aborts on the first bad plugin, and lets a
second distribution take a name without a word. Here only what the configuration names is imported, each in its own
`try`, and a name that two distributions claim is refused for both until the operator pins one.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import PurePath
from traceback import walk_tb
from typing import Any, Literal

import pluggy

from waypost.host import declaration
from waypost.host.deadlines import PASSING
from waypost.host.dispatch import ChannelPlugin
from waypost.plugin.spec import API_VERSION, CHANNELS_GROUP, REQUIRED_HOOKS, WEBHOOK_HOOKS, ChannelSpec
from waypost.plugin.types import ChannelInfo

State = Literal["loaded", "disabled", "incompatible", "failed"]

_HOOKS: dict[str, Callable[..., Any]] = {
    name: function for name, function in vars(ChannelSpec).items() if not name.startswith("_")
}
_ASYNC_HOOKS = frozenset(name for name, function in _HOOKS.items() if inspect.iscoroutinefunction(function))
_GROUP_STEM = CHANNELS_GROUP.rsplit(".v", 1)[0]


@dataclass(frozen=True, slots=True)
class PluginRecord:
    """One entry point and what became of it; `reason` is a sentence wherever the state is not `loaded`."""

    id: str
    distribution: str
    version: str
    state: State
    reason: str = ""
    hooks: tuple[str, ...] = ()
    plugin: ChannelPlugin | None = field(default=None, repr=False)


class RulesBrokenError(Exception):
    """A plugin breaks the rules of the plugin API; its author can mend it as the sentence says."""


class _IncompatibleError(RulesBrokenError):
    """The plugin was made for another plugin API; install a version made for this one."""


def load_channels(
    enabled: Iterable[str],
    *,
    pinned: Mapping[str, str] | None = None,
    entry_points: Iterable[metadata.EntryPoint] | None = None,
) -> dict[str, PluginRecord]:
    """Look at every installed channel plugin, import those enabled, and say what became of each, by id."""
    wanted = set(enabled)
    records: dict[str, PluginRecord] = {}
    found = list(entry_points) if entry_points is not None else _installed()
    by_name: dict[str, list[metadata.EntryPoint]] = {}
    for entry_point in found:
        if entry_point.group == CHANNELS_GROUP:
            by_name.setdefault(entry_point.name, []).append(entry_point)
        elif entry_point.name not in by_name:
            records.setdefault(
                entry_point.name,
                _record(
                    entry_point,
                    "incompatible",
                    f"it belongs to {entry_point.group}; this version loads {CHANNELS_GROUP}",
                ),
            )
    for name, candidates in by_name.items():
        records[name] = _choose(name, candidates, wanted, (pinned or {}).get(name))
    for name in wanted - records.keys():
        records[name] = PluginRecord(name, "", "", "failed", "it is enabled but no installed distribution provides it")
    return dict(sorted(records.items()))


def _installed() -> list[metadata.EntryPoint]:
    points = metadata.entry_points()
    return [
        point
        for group in points.groups
        if group.rsplit(".v", 1)[0] == _GROUP_STEM
        for point in points.select(group=group)
    ]


def _choose(name: str, candidates: list[metadata.EntryPoint], wanted: set[str], pin: str | None) -> PluginRecord:
    first = candidates[0]
    if name not in wanted:
        return _record(first, "disabled", "it is not named in the configuration's `channels`")
    distributions = sorted({_distribution(point)[0] for point in candidates})
    if pin is not None:
        candidates = [point for point in candidates if _normal(_distribution(point)[0]) == _normal(pin)]
        if not candidates:
            return _record(
                first, "failed", f"it is pinned to {pin}, which does not provide it; {' and '.join(distributions)} do"
            )
    if len(candidates) > 1:
        claimants = " and ".join(distributions)
        return _record(
            first, "failed", f"{claimants} both claim this name; pin one in the configuration's `channel_distributions`"
        )
    return _load(candidates[0])


def _load(entry_point: metadata.EntryPoint) -> PluginRecord:
    try:
        implementation = entry_point.load()
    except PASSING:
        raise
    except BaseException as error:  # noqa: BLE001 - whatever a stranger's module raises, SystemExit too
        return _record(entry_point, "failed", f"importing it raised {type(error).__name__}{_where(error, entry_point)}")
    try:
        plugin = inspect_plugin(entry_point.name, implementation)
    except _IncompatibleError as error:
        return _record(entry_point, "incompatible", str(error))
    except RulesBrokenError as error:
        return _record(entry_point, "failed", str(error))
    except PASSING:
        raise
    except BaseException as error:  # noqa: BLE001 - channel_info is a stranger's code
        return _record(
            entry_point,
            "failed",
            f"asking it for channel_info raised {type(error).__name__}{_where(error, entry_point)}",
        )
    return _record(entry_point, "loaded", "", plugin)


def inspect_plugin(name: str, implementation: object) -> ChannelPlugin:
    """Register a plugin in a manager of its own and check it. Raises `RulesBrokenError`."""
    manager = pluggy.PluginManager("waypost")
    manager.add_hookspecs(ChannelSpec)
    if inspect.isclass(implementation) and _is_method(implementation):
        raise RulesBrokenError(f"{name} is the class {implementation.__name__}; name an instance of it, or a module")
    _check_colours(name, implementation)
    info = _asked(implementation)
    if isinstance(info, ChannelInfo):
        _check_api(name, info)
    try:
        manager.register(implementation, name)
        manager.check_pending()
    except (pluggy.PluginValidationError, ValueError) as error:
        raise RulesBrokenError(f"{name}: {' '.join(str(error).split())}") from error
    hooks = frozenset(
        hook
        for hook in _HOOKS
        if any(impl.plugin is implementation for impl in getattr(manager.hook, hook).get_hookimpls())
    )
    missing = REQUIRED_HOOKS - hooks
    if missing:
        raise RulesBrokenError(f"{name} lacks the hook {', '.join(sorted(missing))}; implement it with @hookimpl")
    if info is None:
        info = manager.hook.channel_info()
    if not isinstance(info, ChannelInfo):
        raise RulesBrokenError(f"{name}: channel_info must return a ChannelInfo, not {type(info).__name__}")
    _check_api(name, info)
    for fault in declaration.faults(info):
        raise RulesBrokenError(f"{name}: channel_info().{fault}")
    if info.receives == "webhook" and (missing := WEBHOOK_HOOKS - hooks):
        raise RulesBrokenError(
            f"{name} receives webhooks and lacks {', '.join(sorted(missing))}; implement it or set receives='none'"
        )
    if info.receives == "listen" and "listen" not in hooks:
        raise RulesBrokenError(f"{name} says that it listens and lacks the hook listen; implement it")
    return ChannelPlugin(name, info, manager, hooks)


def _is_method(implementation: type) -> bool:
    """Whether a class's `channel_info` wants an instance; one of static methods is as good as a module."""
    return inspect.isfunction(inspect.getattr_static(implementation, "channel_info", None))


def _asked(implementation: object) -> object:
    """What `channel_info` answers. It is asked before the other hooks are looked at: they may be another version's."""
    ask = getattr(implementation, "channel_info", None)
    if not callable(ask) or getattr(ask, "waypost_impl", None) is None or inspect.signature(ask).parameters:
        return None  # registering it says what is wrong
    return ask()


def _check_colours(name: str, implementation: object) -> None:
    for hook in _HOOKS:
        function = getattr(implementation, hook, None)
        options = getattr(function, "waypost_impl", None)
        if function is None or options is None:
            continue
        is_async = inspect.iscoroutinefunction(function)
        if hook in _ASYNC_HOOKS and not is_async:
            raise RulesBrokenError(f"{name}.{hook} does I/O and must be `async def`")
        if hook not in _ASYNC_HOOKS and (is_async or inspect.isasyncgenfunction(function)):
            raise RulesBrokenError(f"{name}.{hook} must be pure: write it as a plain `def`")
        if options.get("wrapper") or options.get("hookwrapper"):
            raise RulesBrokenError(
                f"{name}.{hook} is a pluggy wrapper; implement `wrap_send` in a wrapper plugin instead"
            )
        parameters = inspect.signature(function).parameters.values()
        if any(parameter.kind is inspect.Parameter.KEYWORD_ONLY for parameter in parameters):
            raise RulesBrokenError(
                f"{name}.{hook} has keyword-only parameters, which are never passed; make them ordinary"
            )


def _check_api(name: str, info: ChannelInfo) -> None:
    try:
        major, minor = (int(part) for part in info.api.split("."))
    except (AttributeError, ValueError) as error:
        raise RulesBrokenError(f'{name}: channel_info().api must be like "1.0", not {info.api!r}') from error
    ours = ".".join(map(str, API_VERSION))
    if major != API_VERSION[0]:
        raise _IncompatibleError(
            f"it is made for plugin API {info.api} and this is {ours}, another major version; "
            f"install a release of it that is made for {API_VERSION[0]}.x"
        )
    if minor > API_VERSION[1]:
        raise _IncompatibleError(f"it needs plugin API {info.api} and this is {ours}; install a newer Waypost")


def _where(error: BaseException, entry_point: metadata.EntryPoint) -> str:
    """What an author needs to know of an error and may be shown: the module that is missing, the plugin's own line."""
    if isinstance(error, ImportError) and error.name:
        return f" ({error.name})"
    if isinstance(error, SyntaxError) and error.filename:
        return f" ({PurePath(error.filename).name}:{error.lineno})"
    package = _package(entry_point.value)
    own = [at for at in walk_tb(error.__traceback__) if _package(str(at[0].f_globals.get("__name__"))) == package]
    if own:
        return f" ({PurePath(own[-1][0].f_code.co_filename).name}:{own[-1][1]})"
    # Nothing of the plugin's raised it: its entry point names what the module does not hold.
    return f" ({error.name})" if isinstance(error, AttributeError) and error.name else ""


def _package(module: str) -> str:
    return module.partition(":")[0].partition(".")[0].strip()


def _distribution(entry_point: metadata.EntryPoint) -> tuple[str, str]:
    distribution = entry_point.dist
    return (distribution.name, distribution.version) if distribution is not None else ("", "")


def _normal(distribution: str) -> str:
    """A distribution's name as names are compared (PEP 503)."""
    return re.sub(r"[-_.]+", "-", distribution.strip()).lower()


def _record(
    entry_point: metadata.EntryPoint, state: State, reason: str, plugin: ChannelPlugin | None = None
) -> PluginRecord:
    name, version = _distribution(entry_point)
    hooks = tuple(sorted(plugin.hooks)) if plugin else ()
    return PluginRecord(entry_point.name, name, version, state, reason, hooks, plugin)
