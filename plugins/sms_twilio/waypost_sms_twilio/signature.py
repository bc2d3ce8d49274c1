"""Twilio's webhook signature.

`X-Twilio-Signature` is base64 of HMAC-SHA1 over the public URL as Twilio called it, followed, for a form, by the
decoded parameters sorted by name; a JSON body is covered by `bodySHA256` in the query. Twilio signs with or without
the default port, so that both forms are tried. Sources: Twilio docs, "Webhooks security"; twilio-python,
`request_validator.py` (also for `X-Twilio-Webhooks-Signature-Settings`, which names HMAC-SHA256).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from urllib.parse import parse_qsl, urlsplit

from waypost.plugin import Rejected, SecretStr, Verified, WebhookRequest, WebhookVerdict
from waypost.plugin.signatures import Algorithm, hmac_matches, hmac_sign, same, sha256_hex

FORM = "application/x-www-form-urlencoded"
#: Twilio's largest delivery has some sixty parameters.
MOST_PARAMETERS = 1000
#: Nearly every form is shorter; a longer one is read twice rather than kept.
REMEMBERED_BYTES = 8192

_PORT = re.compile(r":[0-9]*$")
_ALGORITHMS: dict[str, Algorithm] = {"HMAC_SHA1": "sha1", "HMAC_SHA256": "sha256"}


def form_pairs(body: bytes) -> Sequence[tuple[str, str]] | None:
    """The parameters of a form in order, blank ones kept; None where there are too many to be Twilio's."""
    return _remembered_pairs(body) if len(body) <= REMEMBERED_BYTES else _pairs(body)


def _pairs(body: bytes) -> Sequence[tuple[str, str]] | None:
    try:
        return tuple(parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True, max_num_fields=MOST_PARAMETERS))
    except ValueError:
        return None


#: A form is read to verify it, and soon after to parse it.
_remembered_pairs = lru_cache(maxsize=64)(_pairs)


def is_form(request: WebhookRequest) -> bool:
    """Whether the delivery's body is a form."""
    return (request.header("content-type") or "").partition(";")[0].strip().lower() == FORM


def sign(token: str, url: str, pairs: Iterable[tuple[str, str]] = ()) -> str:
    """The signature of a delivery to this URL, as Twilio would make it."""
    return hmac_sign(token, _signed(url, pairs), "sha1", "base64")


def verify(request: WebhookRequest, tokens: Sequence[SecretStr]) -> WebhookVerdict:
    """Decide whether one of the tokens signed this delivery; never raises."""
    given = request.only_header("x-twilio-signature")
    if not any(token.get_secret_value() for token in tokens):
        return Rejected("no auth token is configured", unconfigured=True)
    if not given:
        return Rejected("no signature")
    algorithm = _algorithm(request.header("x-twilio-webhooks-signature-settings"))
    if algorithm is None:
        return Rejected("unknown signature algorithm")
    pairs: Sequence[tuple[str, str]] | None = ()
    if request.method.upper() != "GET":
        if is_form(request):
            pairs = form_pairs(request.body)
        elif not same(request.parameter("bodySHA256") or "", sha256_hex(request.body)):
            return Rejected("the body is not the one that was signed")
    if pairs is None:
        return Rejected("too many parameters")
    signed = _signed("", pairs)
    # Which of the URL's two forms was signed is no secret, so the second is tried only where the first does not match.
    candidates = (_signed(url) + signed for url in _variants(request.url))
    matched = any(hmac_matches(tokens, candidate, given, algorithm, "base64") for candidate in candidates)
    return Verified() if matched else Rejected("wrong signature")


def _signed(url: str, pairs: Iterable[tuple[str, str]] = ()) -> bytes:
    text = url + "".join(name + value for name, value in sorted(set(pairs)))
    return text.encode("utf-8", "surrogatepass")


def _variants(url: str) -> Iterator[str]:
    """The URL as it is, then with its default port put in or left out."""
    yield url
    try:
        parts = urlsplit(url)
    except ValueError:
        return
    if parts.netloc:
        without = _PORT.sub("", parts.netloc)
        with_default = f"{parts.netloc}:{443 if parts.scheme == 'https' else 80}"
        yield url.replace(parts.netloc, with_default if without == parts.netloc else without, 1)


def _algorithm(settings: str | None) -> Algorithm | None:
    for part in (settings or "").split(","):
        name, _, value = part.partition("=")
        if name.strip() == "algorithm" and value.strip():
            return _ALGORITHMS.get(value.strip().upper())
    return "sha1"
