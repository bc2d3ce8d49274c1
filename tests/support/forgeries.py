"""Forged webhooks, a hundred for each signed scheme: what somebody may try who has seen genuine ones but has no key."""

from __future__ import annotations

import base64
import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from urllib.parse import parse_qsl, urlencode, urlsplit

from waypost.plugin import WebhookRequest

#: How many for each scheme.
COUNT = 100

#: Signs a delivery of this body to this URL with some key; SendGrid's time may be chosen.
Sign = Callable[..., WebhookRequest]


@dataclass(frozen=True)
class Forgery:
    """A request that must not be believed. Where it never reaches verification, `statuses` says what it gets."""

    trick: str
    request: WebhookRequest
    statuses: tuple[int, ...] = (401,)


@dataclass(frozen=True)
class Scheme:
    """A signed scheme: genuine deliveries somebody has seen, the header that proves them, and who may sign what.

    `sign` is the provider with the gateway's own key, used only for what the provider would sign for another URL or
    at another time; `other` signs with another tenant's key and `wrong` with a key of nobody's. `others_url` is the
    other tenant's.
    """

    name: str
    genuine: tuple[WebhookRequest, ...]
    header: str
    sign: Sign
    other: Sign
    wrong: Sign
    others_url: str
    signs_url: bool = False
    signs_time: str | None = None

    def forgeries(self) -> list[Forgery]:
        """A hundred that all differ; the same ones for the same deliveries."""
        chosen = random.Random(1)
        found = [*self._keys(), *self._headers(), *self._bodies(), *self._places(), *self._times()]
        flips = self._flips(chosen)
        while len(found) < COUNT:
            found.append(next(flips))
        assert len(found) == COUNT, (self.name, len(found))
        assert len({(item.request, item.trick) for item in found}) == COUNT
        return found

    # ---- the tricks

    def _keys(self) -> Iterator[Forgery]:
        for genuine in self.genuine:
            yield Forgery("wrong key", self.wrong(genuine.body, genuine.url))
            yield Forgery("another tenant's key", self.other(genuine.body, genuine.url))
            theirs = self.other(genuine.body, self.others_url)
            yield Forgery("another tenant's delivery replayed", replace(theirs, url=genuine.url))
        yield Forgery("the signature of another delivery", self._with(self.genuine[0], self._proof(self.genuine[1])))

    def _headers(self) -> Iterator[Forgery]:
        genuine = self.genuine[0]
        proof = self._proof(genuine)
        yield Forgery("no signature", self._with(genuine, None))
        for trick, value in {
            "empty": "",
            "blank": "   ",
            "a word": "signature",
            "a prefix": proof[: len(proof) // 2],
            "with more behind": proof + "0",
            "twice": proof + proof,
            "in a list": f"x, {proof}",
            "in quotes": f'"{proof}"',
            "other case": proof.swapcase() if proof.swapcase() != proof else proof + "A",
            "without its first letter": proof[1:],
            "reversed": proof[::-1],
            "not ASCII": "sïgnature✓",
            "latin-1": "s\udcefgnature",
            "full width": "".join(chr(ord(letter) + 0xFEE0) if "!" <= letter <= "~" else letter for letter in proof),
            "null in words": "null",
            "true in words": "true",
            "4,000 letters": "A" * 4000,
            "8,000 letters": "ab" * 4000,
            "sha1 named": "sha1=" + proof.removeprefix("sha256="),
            "none named": "none=" + proof,
            "only a scheme": "sha256=",
            "of nothing, in hex": "sha256=e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
            "zeroes": "sha256=" + "0" * 64,
            "zeroes in base64": base64.b64encode(bytes(64)).decode(),
            "empty sequence in base64": "MAYCAQACAQA=",
            "DER of (1, 1)": "MAYCAQECAQE=",
        }.items():
            yield Forgery(f"signature: {trick}", self._with(genuine, value))
        yield Forgery("too long a header", self._with(genuine, "A" * 60_000), (400, 431))
        bad = ((self.header, "forged"), *genuine.headers)
        yield Forgery("forged before genuine", replace(genuine, headers=bad))
        yield Forgery("forged after genuine", replace(genuine, headers=(*genuine.headers, (self.header, "forged"))))
        yield Forgery("genuine twice", replace(genuine, headers=(*genuine.headers, (self.header, proof))))
        yield Forgery("under another name", self._renamed(genuine, self.header.replace("-signature", "-sig")))

    def _bodies(self) -> Iterator[Forgery]:
        for genuine in self.genuine:
            body = genuine.body
            changed = {
                "emptied": b"",
                "truncated": body[: len(body) // 2],
                "prefixed": b"x" + body,
                "not text": b"\xff\xfe" + body,
                "of zeroes": bytes(len(body)),
                "long": body + b"&x=" + b"y" * 200_000,
                "with more behind": body + b"&Extra=1",
                "status changed": body.replace(b"delivered", b"failed").replace(b"hello", b"HELLO"),
                **_serialised_again(body),
            }
            for trick, other in changed.items():
                if other != body:
                    yield Forgery(f"body {trick}", replace(genuine, body=other))

    def _places(self) -> Iterator[Forgery]:
        genuine = self.genuine[0]
        parts = urlsplit(genuine.url)
        origin = f"{parts.scheme}://{parts.netloc}"
        yield Forgery("replayed at another gateway", replace(genuine, url=self.others_url))
        yield Forgery("at a gateway that is not there", replace(genuine, url=f"{genuine.url}0"), (404, 401))
        yield Forgery("at another plugin", replace(genuine, url=f"{origin}/webhooks/nothing/{'0' * 8}"), (404,))
        yield Forgery("by another method", replace(genuine, method="PUT"), (404, 405))
        yield Forgery("compressed, it says", self._more(genuine, "content-encoding", "gzip"), (415, 400))
        forged = self._with(genuine, self._proof(self.genuine[1]))
        for trick, url in {
            "the document's URL": f"{origin}/api/webhook.php",
            "the plugin's URL": f"{origin}{parts.path.rsplit('/', 1)[0]}",
            "a query": f"{genuine.url}{'&' if parts.query else '?'}x=1",
            "a handshake's query": f"{genuine.url}{'&' if parts.query else '?'}hub.mode=subscribe&hub.verify_token=x",
            "a doubled parameter": f"{genuine.url}{'&' if parts.query else '?'}a=1&a=2",
            "an absolute path": f"{genuine.url}{'&' if parts.query else '?'}u=https://evil.example/",
        }.items():
            yield Forgery(f"forged, at {trick}", replace(forged, url=url))
        if self.signs_url:
            yield from self._signed_for_elsewhere(genuine)

    def _signed_for_elsewhere(self, genuine: WebhookRequest) -> Iterator[Forgery]:
        """What the provider did sign, for a URL that is not the one it is posted to."""
        parts = urlsplit(genuine.url)
        port = parts.port or 80
        for trick, url in {
            "another path": genuine.url.replace("/webhooks/", "/hooks/"),
            "another port": genuine.url.replace(f":{port}", f":{port + 1}"),
            "another scheme": genuine.url.replace("http://", "https://"),
            "another host": genuine.url.replace(parts.hostname or "", "gateway.example"),
            "a user": genuine.url.replace("http://", "http://user@"),
            "another query": f"{genuine.url}&x=1" if parts.query else f"{genuine.url}?x=1",
            "a fragment": f"{genuine.url}#x",
            "a slash behind": genuine.url.replace("?", "/?") if parts.query else f"{genuine.url}/",
            "another tenant": self.others_url,
            "upper case": genuine.url.upper(),
        }.items():
            yield Forgery(f"signed for {trick}", replace(self.sign(genuine.body, url), url=genuine.url))
        pairs = parse_qsl(genuine.body.decode(), keep_blank_values=True)
        name, value = pairs[-1]
        for trick, changed in {
            "an extra parameter": [*pairs, ("Extra", "1")],
            "a parameter again, otherwise": [*pairs, (name, value + "x")],
            "a parameter less": pairs[:-1],
            "a parameter emptied": [*pairs[:-1], (name, "")] if value else pairs[1:],
            "a parameter renamed": [*pairs[:-1], (name.lower(), value)],
            "2,000 parameters": [*pairs, *((f"p{number}", "1") for number in range(2000))],
        }.items():
            yield Forgery(trick, replace(genuine, body=urlencode(changed).encode()))

    def _times(self) -> Iterator[Forgery]:
        if self.signs_time is None:
            return
        genuine = self.genuine[0]
        now = int(dict(genuine.headers)[self.signs_time])
        for value in (
            now + 1,
            now - 1,
            now + 3600,
            0,
            -now,
            f"{now}.0",
            f"+{now}",
            f"{now}0",
            f" {now} 1",
            "",
            "x",
            "٣",
        ):
            headers = tuple((name, given) for name, given in genuine.headers if name != self.signs_time)
            changed = replace(genuine, headers=(*headers, (self.signs_time, str(value))))
            yield Forgery(f"another time: {value}", changed)
        yield Forgery("signed long ago", self.sign(genuine.body, genuine.url, at=now - 30 * 86_400))

    def _flips(self, chosen: random.Random) -> Iterator[Forgery]:
        """One bit of the body or of the signature."""
        while True:
            genuine = chosen.choice(self.genuine)
            flipped = bytearray(genuine.body)
            at = chosen.randrange(len(flipped))
            flipped[at] ^= 1 << chosen.randrange(8)
            if not self.signs_url or _form(bytes(flipped)) != _form(genuine.body):
                yield Forgery(f"bit flipped in byte {at} of the body", replace(genuine, body=bytes(flipped)))
            proof = self._proof(genuine)
            at = chosen.randrange(len(proof) - 4)  # the last letters of base64 have bits that mean nothing
            letter = chr(ord(proof[at]) ^ (1 << chosen.randrange(5)))
            if letter.isprintable() and letter != " ":
                changed = proof[:at] + letter + proof[at + 1 :]
                yield Forgery(f"bit flipped in letter {at} of the signature", self._with(genuine, changed))

    # ---- pieces

    def _proof(self, request: WebhookRequest) -> str:
        return dict(request.headers)[self.header]

    def _with(self, request: WebhookRequest, proof: str | None) -> WebhookRequest:
        headers = tuple((name, value) for name, value in request.headers if name != self.header)
        return replace(request, headers=headers if proof is None else (*headers, (self.header, proof)))

    def _renamed(self, request: WebhookRequest, header: str) -> WebhookRequest:
        return self._more(self._with(request, None), header, self._proof(request))

    @staticmethod
    def _more(request: WebhookRequest, header: str, value: str) -> WebhookRequest:
        return replace(request, headers=(*request.headers, (header, value)))


def _form(body: bytes) -> set[tuple[str, str]]:
    return set(parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True))


def _serialised_again(body: bytes) -> dict[str, bytes]:
    """The same content in other bytes; a form as JSON."""
    try:
        content = json.loads(body)
    except ValueError:
        content = dict(parse_qsl(body.decode()))
    return {
        "serialised again": json.dumps(content).encode(),
        "serialised with sorted keys": json.dumps(content, sort_keys=True).encode(),
        "serialised with indentation": json.dumps(content, indent=2).encode(),
        "serialised compactly": json.dumps(content, separators=(",", ":"), ensure_ascii=False).encode(),
        "with a byte order mark": b"\xef\xbb\xbf" + body,
        "with a line end": body.rstrip() + b"\n",
    }
