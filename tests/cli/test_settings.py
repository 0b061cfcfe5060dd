"""A settings file beside options."""

from __future__ import annotations

from pathlib import Path

import pytest

from onnxzip.cli.settings import configured, data_and_out, limits
from onnxzip.config import Budget, Config
from onnxzip.errors import UsageError
from onnxzip.settings import ModelSettings

FILE = Config(preset="weights8", seed=3, budget=Budget(min_agreement=0.99, max_size=0.5))
ENTRY = ModelSettings(name="a", path=Path("a.onnx"), calibration="a.npz", out=Path("a.opt"), config=FILE)


def test_without_a_file_the_options_are_the_settings():
    made = configured(None, frozenset(), budget=limits(min_agreement=0.5), preset="exact")
    assert made == Config(preset="exact", budget=Budget(min_agreement=0.5))


def test_only_what_was_given_goes_before_the_file():
    given = frozenset({"min_sqnr", "seed"})
    made = configured(ENTRY, given, budget=limits(min_agreement=0.9, min_sqnr_db=33.0), preset=None, seed=7)
    assert made == Config(preset="weights8", seed=7, budget=Budget(min_agreement=0.99, min_sqnr_db=33.0, max_size=0.5))


def test_what_was_given_as_the_default_counts_as_given():
    made = configured(ENTRY, frozenset({"min_agreement"}), budget=limits(min_agreement=0.9))
    assert made.budget.min_agreement == 0.9


def test_what_both_say_is_checked():
    with pytest.raises(UsageError, match="preset 'int7' is not known"):
        configured(ENTRY, frozenset({"preset"}), budget=limits(), preset="int7")


def test_data_and_result_go_the_same_way():
    assert data_and_out(ENTRY, frozenset(), None, None, None) == (Path("a.opt"), "a.npz", None)
    given = frozenset({"out", "calibration", "evaluation"})
    assert data_and_out(ENTRY, given, Path("b"), "c", "d") == (Path("b"), "c", "d")
