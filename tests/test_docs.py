"""What a newcomer reads is true."""

from pathlib import Path

import pytest

from onnxzip.passes import PASSES

DOCS = Path(__file__).parent.parent / "docs"


@pytest.mark.parametrize("name", [p.__name__ for p in PASSES])
def test_every_pass_stands_in_the_architecture(name):
    assert f"`{name}`" in (DOCS / "architecture.md").read_text()
