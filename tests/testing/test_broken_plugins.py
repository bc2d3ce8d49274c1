"""Every check of the contract kit catches the faults meant for it, and lets the good plugin be."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import ClassVar

import pytest
from waypost.testing import ChannelContract
from waypost.testing.check import CHECKS, Exempt, NotApplicable

#: Variant → the check meant for its fault.
FAULTS = {
    "sync_send": "plugin_loads",
    "raises_at_import": "plugin_loads",
    "wrong_api": "plugin_loads",
    "lacks_price": "plugin_loads",
    "boasts_templates": "info_complete",
    "kind_without_model": "info_complete",
    "changing_info": "info_complete",
    "connects_at_import": "import_quiet",
    "slow_at_import": "import_quick",
    "open_settings": "settings_closed",
    "plain_key": "secrets_typed",
    "innocent_name": "secrets_typed",
    "talkative_repr": "secrets_hidden",
    "talkative_validator": "secrets_hidden",
    "lacks_example": "examples_complete",
    "invalid_example": "examples_complete",
    "half_units": "price_every_kind",
    "refuses_to_price": "price_every_kind",
    "rising_price": "price_deterministic",
    "priced_by_the_clock": "price_pure",
    "priced_by_request": "price_pure",
    "priced_with_session": "price_pure",
    "marks_messages": "price_pure",
    "other_kind": "address_parsed",
    "takes_anything": "address_nonsense",
    "raises_value_error": "address_nonsense",
    "lacks_simulator": "simulator_there",
    "answers_dict": "sends_one",
    "sends_twice": "one_request_per_send",
    "cannot_send_images": "kinds_sent",
    "no_magic": "simulator_magic",
    "takes_anybody": "simulator_refuses_strangers",
    "mistakes_opt_out": "simulator_outcomes",
    "remembers_the_last": "concurrent_sends",
    "sleeps": "loop_free",
    "blocks": "loop_free",
    "bad_request_unknown": "fault_400",
    "unauthorized_permanent": "fault_401",
    "forbidden_transient": "fault_403",
    "limit_transient": "fault_429",
    "limit_forgets_pause": "fault_429_retry_after",
    "server_error_transient": "fault_500",
    "retries_server_errors": "fault_500",
    "bad_gateway_undeclared": "fault_502",
    "unavailable_permanent": "fault_503",
    "retries_silence": "fault_hang",
    "silence_transient": "fault_truncated",
    "believes_garbage": "fault_garbage",
    "refusal_unknown": "fault_refused",
    "quotes_the_provider": "errors_discreet",
    "logs_requests": "logs_discreet",
    "logs_headers": "logs_discreet",
    "swallows_cancellation": "cancellation_passes",
    "own_session": "close_during_send",
    "signs_parsed_body": "verify_accepts",
    "allows_unsigned": "verify_unsigned",
    "checks_the_form_only": "verify_tampered",
    "anybodys_key": "verify_wrong_key",
    "raises_on_junk": "verify_junk",
    "takes_empty": "verify_empty",
    "raises_on_huge": "verify_huge",
    "compares_text": "verify_non_ascii",
    "allows_without_secret": "verify_missing_secret",
    "never_shakes_hands": "handshake_right",
    "shakes_any_hand": "handshake_wrong",
    "loses_text": "parse_deliveries",
    "random_ids": "parse_replay",
    "one_id_for_all": "parse_replay",
    "raises_on_unknown": "parse_unknown",
    "drops_unknown": "parse_unknown",
    "trusts_shapes": "parse_fuzz",
    "ids_by_place": "parse_batch",
    "first_of_batch": "parse_batch",
    "reads_strictly": "parse_neighbours",
    "deaf": "listen_hears",
    "hears_the_wrong_words": "listen_hears",
    "never_lets_go": "listen_hears",
    "thanks_first": "listen_keeps",
    "shrugs": "listen_keeps",
    "new_id_each_time": "listen_keeps",
    "forgets_correlation": "correlation_returns",
    "forgets_message": "receipts_find_message",
    "never_proves_reading": "receipts_tell",
    "mistakes_undelivered": "receipts_tell",
    "recognizes_all": "recognizes_own",
    "uncovered_feature": "features_covered",
    "invents_messages": "feature_lookup",
    "finds_nothing": "feature_lookup",
    "lists_names": "feature_templates",
    "forgets_reply_to": "feature_replies",
    "ignores_key": "feature_idempotent_send",
    "ignores_window": "feature_service_window",
    "guesses_window": "feature_service_window",
    "no_watermarks": "feature_watermarks",
    "blames_account": "account_health",
    "never_blames_account": "account_health",
    "connects_nothing": "webhook_connects",
    "connects_regardless": "webhook_connects",
    "connects_without_a_word": "webhook_connects",
}
#: A fault that belongs to more than one check.
ALSO = {"silence_transient": "fault_reset", "retries_silence": "fault_reset"}
#: Check → the variant that has what it looks at, where the good plugin has not.
GOOD = {
    "listen_hears": "listens",
    "listen_keeps": "listens",
    "feature_templates": "lists_templates",
    "feature_replies": "replies",
    "feature_idempotent_send": "keyed",
    "feature_service_window": "keeps_window",
    "feature_watermarks": "watermarks",
    "webhook_connects": "connects",
}

pytestmark = pytest.mark.usefixtures("installed")


def contract_of(name: str, **attributes: object) -> ChannelContract:
    return type("Contract", (ChannelContract,), {"plugin": name, **attributes})()


def run(contract: ChannelContract, check: str) -> None:
    getattr(contract, f"test_{check}")()


@pytest.mark.parametrize(("variant", "check"), [*FAULTS.items(), *ALSO.items()])
def test_a_fault_is_caught_by_the_check_meant_for_it(variant: str, check: str) -> None:
    with pytest.raises(pytest.fail.Exception) as caught:
        run(contract_of(variant), check)
    told = str(caught.value)
    assert told.startswith(f"{check}: {variant} ")
    assert CHECKS[check].advice in told


@pytest.mark.parametrize("check", sorted(CHECKS))
def test_the_good_plugin_passes(check: str) -> None:
    run(contract_of(GOOD.get(check, "good")), check)


def test_every_check_has_a_fault_that_it_catches() -> None:
    caught = {*FAULTS.values(), *ALSO.values(), "exemptions_stated"}
    assert caught == CHECKS.keys()


@pytest.mark.parametrize(
    "exempt", [{"price_pure": ""}, {"price_pure": "we like"}, {"no_such_check": "a reason that is long enough"}]
)
def test_an_exemption_without_reason_or_check_is_caught(exempt: dict[str, str]) -> None:
    with pytest.raises(pytest.fail.Exception, match="exemptions_stated"):
        run(contract_of("good", exempt=exempt), "exemptions_stated")


def test_an_exempt_check_does_not_run() -> None:
    with pytest.raises(Exempt, match="exempt: the provider has no such thing"):
        run(contract_of("sends_twice", exempt={"fault_500": "the provider has no such thing"}), "fault_500")


def test_a_check_of_what_is_not_declared_is_not_applicable() -> None:
    with pytest.raises(NotApplicable, match="does not declare templates"):
        run(contract_of("good"), "feature_templates")


def test_a_contract_without_plugin_says_what_to_write() -> None:
    with pytest.raises(pytest.fail.Exception, match="names no plugin"):
        run(contract_of(""), "plugin_loads")


def test_a_plugin_that_is_not_installed_is_named() -> None:
    with pytest.raises(pytest.fail.Exception, match="no installed distribution provides it"):
        run(contract_of("not_there"), "plugin_loads")


def test_the_setting_with_the_address_has_to_exist() -> None:
    with pytest.raises(pytest.fail.Exception, match="have no 'endpoint', and the plugin opens no"):
        run(contract_of("good", base_url_setting="endpoint"), "fault_500")


def test_an_http_address_in_the_settings_shows_that_a_plugin_speaks_http() -> None:
    with pytest.raises(pytest.fail.Exception, match="name the setting that holds the provider's address"):
        run(contract_of("opens_client", base_url_setting="endpoint"), "sends_one")
    run(contract_of("opens_client"), "fault_500")


def test_a_feature_with_a_case_of_its_own_is_covered() -> None:
    run(contract_of("uncovered_feature", test_feature_carrier_pigeon=lambda self: None), "features_covered")


async def test_checks_run_inside_a_worker_thread_beside_another_loop(installed: Path) -> None:
    """A check brings its own event loop, so that it does not mind which plugins for asyncio are installed."""
    await asyncio.to_thread(run, contract_of("good"), "sends_one")


class Overridden(ChannelContract):
    plugin: ClassVar[str] = "good"

    def batch(self, first: object, second: object) -> None:
        return None


def test_a_batch_that_cannot_be_made_is_said() -> None:
    with pytest.raises(pytest.fail.Exception, match="override `batch`"):
        run(Overridden(), "parse_batch")
