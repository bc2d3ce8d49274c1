"""What Messenger and Instagram must do alike is tested here, with each of them."""

from __future__ import annotations

import pytest
from meta_products import *  # noqa: F403
from meta_products import INSTAGRAM, MESSENGER, Product


@pytest.fixture(scope="session", params=[MESSENGER, INSTAGRAM], ids=lambda product: product.name)
def product(request: pytest.FixtureRequest) -> Product:
    found: Product = request.param
    return found
