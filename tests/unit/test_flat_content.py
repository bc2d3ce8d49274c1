"""The flat fields of the two documents."""

from __future__ import annotations

import pytest
from waypost_server.rest.content import variables


@pytest.mark.parametrize(
    ("value", "written"), [(5, "5"), (0.5, "0.5"), (0.00001, "0.00001"), (1.5e10, "15000000000.0"), ("1e-05", "1e-05")]
)
def test_a_variables_number_is_written_out(value: str | float, written: str) -> None:
    assert variables({"1": value}) == {"1": written}
