"""When a search may go on, and the reason that it gives when it may not."""

from __future__ import annotations

import math
from typing import Any

import pytest

from onnxzip.config import Config
from onnxzip.errors import UsageError
from onnxzip.quantize.bound import Bound


def test_a_bound_opens_and_closes(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr("onnxzip.quantize.bound.time.monotonic", lambda: now)
    assert Bound(now + 1).open()
    assert Bound(now + 1).reason() == "nothing was left to try"
    assert not Bound(now).open()
    assert Bound(now).reason() == "its time was up"
    late = Bound(now + 10, slowest=4.0)
    assert late.open()
    assert late.open(2)
    assert not late.open(3)
    late.last = 2
    assert not late.open()
    worked = Bound(math.inf, passes=5.0, used=5.0)
    assert not worked.open()
    assert worked.reason() == "5 passes over the data were made"
    assert Bound(now, used=21.0).reason() == "its time was up"


@pytest.mark.parametrize("seconds", [-1, math.nan, math.inf, True, "60"])
def test_a_time_that_is_none_is_refused_by_name(seconds: Any) -> None:
    with pytest.raises(UsageError, match="search_time is a number of seconds that is not negative, not"):
        Config(search_time=seconds)
    assert Config(search_time=0).search_time == 0
