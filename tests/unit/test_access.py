"""API keys: of as many random bits as they say, and stored as a digest."""

from __future__ import annotations

import base64
import hashlib

import pytest
from waypost.access import Mode, make_key


@pytest.mark.parametrize("mode", ["live", "test"])
def test_a_key_has_256_random_bits_and_only_its_digest_is_kept(mode: Mode) -> None:
    made = [make_key(mode) for _ in range(50)]
    for key in made:
        prefix, _, random = key.secret.rpartition(f"ak_{mode}_")
        assert prefix == ""
        assert len(base64.urlsafe_b64decode(random + "=")) == 32
        assert key.digest == hashlib.sha256(key.secret.encode()).hexdigest()
        assert key.secret.startswith(key.shown)
        assert len(key.shown) < 20
    assert len({key.secret for key in made}) == 50
