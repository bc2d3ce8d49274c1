"""The fixtures of Meta's messaging products, for Messenger; what holds for both is tested in plugins/meta_graph."""

from __future__ import annotations

import pytest
from meta_products import *  # noqa: F403
from meta_products import MESSENGER, Product


@pytest.fixture(scope="session")
def product() -> Product:
    return MESSENGER
