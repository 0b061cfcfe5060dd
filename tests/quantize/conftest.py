import pytest

from tests.quantize import audit


@pytest.fixture(autouse=True)
def _same_weights() -> None:
    audit.reseed()
