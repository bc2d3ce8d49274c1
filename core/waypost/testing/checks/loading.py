"""Does it load, say what it is, and load quickly and quietly?"""

from __future__ import annotations

from typing import Any, ClassVar

from waypost.plugin.content import Content
from waypost.testing.check import CHECKS, CheckFailed, check
from waypost.testing.probing import probe
from waypost.testing.subject import Subject

#: What importing a plugin may cost beyond what the gateway has imported anyway, in seconds.
IMPORT_LIMIT = 0.3
SHORTEST_REASON = 10


class LoadingChecks(Subject):
    """The entry point, the info, the import."""

    _probed: ClassVar[dict[str, dict[str, Any]]] = {}

    @check("bronze", "Mend what the loader says of the entry point, the hooks' names and colours, or the API version.")
    def test_plugin_loads(self) -> None:
        """The installed entry point loads; every hook has the right name, parameters and colour."""
        if not self.channel.hooks:
            raise CheckFailed("the plugin implements no hook")

    @check("bronze", "Complete channel_info(): what it declares must fit its hooks, its settings and its content.")
    def test_info_complete(self) -> None:
        """`channel_info` agrees with the hooks, the settings and the content kinds, and does not change."""
        info, hooks = self.channel.info, self.channel.hooks
        problems = [
            f"`{name}` is empty"
            for name in ("channel", "title", "documentation", "address_kinds", "content_kinds")
            if not getattr(info, name)
        ]
        for feature, hook in (("lookup", "lookup"), ("templates", "list_templates")):
            if (feature in info.features) != (hook in hooks):
                problems.append(f"feature {feature!r} and hook `{hook}` go together; one of them is missing")
        if ("idempotent_send" in info.features) != (info.idempotent_for > 0):
            problems.append("feature 'idempotent_send' and `idempotent_for` go together; one of them is missing")
        field = info.account_ref_field
        if field is not None and field not in info.account_settings.model_fields:
            problems.append(f"`account_ref_field` names {field!r}, which is no account setting")
        if info.receives == "webhook" and info.webhook_scope == "shared" and "recognize" not in hooks:
            problems.append("deliveries on a shared URL need the hook `recognize`")
        problems.extend(_kinds_without_model(info))
        if self.hooks.channel_info() != info:
            problems.append("channel_info() answers differently when it is asked again")
        if problems:
            raise CheckFailed("\n".join(problems))

    @check("bronze", "Name a check of this kit in `exempt` and give a reason of at least ten characters.")
    def test_exemptions_stated(self) -> None:
        """Every exemption names a check and says why."""
        problems = [f"{name!r} is no check of this kit" for name in self.exempt if name not in CHECKS]
        problems += [
            f"{name!r} has no real reason: {reason!r}"
            for name, reason in self.exempt.items()
            if len(str(reason).strip()) < SHORTEST_REASON
        ]
        if problems:
            raise CheckFailed("\n".join(problems))

    @check("bronze", "Move whatever talks to the network out of module level, into an async hook.")
    def test_import_quiet(self) -> None:
        """Importing the plugin makes no network connection and resolves no name."""
        calls = self._imported()["network"]
        if calls:
            raise CheckFailed(f"importing the plugin called {', '.join(sorted(set(calls)))}")

    @check("bronze", "Import heavy SDKs where they are first used (in `open_account`, off the loop), not at the top.")
    def test_import_quick(self) -> None:
        """Importing the plugin takes less than 300 ms beyond what the gateway has imported anyway."""
        seconds = self._imported()["seconds"]
        for _ in range(3):
            if seconds < IMPORT_LIMIT:
                return
            # The first import compiles, and a busy machine is slow: the quickest of several counts.
            seconds = min(seconds, probe({"plugin": self.plugin})["seconds"])
        if seconds >= IMPORT_LIMIT:
            raise CheckFailed(f"importing the plugin took {seconds * 1000:.0f} ms, more than {IMPORT_LIMIT * 1000:.0f}")

    def _imported(self) -> dict[str, Any]:
        if self.plugin not in self._probed:
            if not self.channel.id:
                raise CheckFailed("the plugin does not load")
            self._probed[self.plugin] = probe({"plugin": self.plugin})
        return self._probed[self.plugin]


def _kinds_without_model(info: Any) -> list[str]:
    problems = []
    for kind in sorted(info.content_kinds):
        model = info.content_model(kind)
        if model is None:
            problems.append(f"content kind {kind!r} has no model: put one into `content_models`, or drop the kind")
        elif not issubclass(model, Content):
            problems.append(f"the model of content kind {kind!r} is no subclass of Content")
    return problems
