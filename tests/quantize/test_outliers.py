"""Channels that are far larger than the others, as behind the LayerNormalization of every transformer."""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from onnxzip.config import Config
from onnxzip.quantize import Choice, insert, quantize
from tests.helpers.graphs import model
from tests.quantize.audit import Feed, plan_of, sqnr

OUTLIER, GAIN = 7, 60


def block(gain: float = GAIN) -> ir.Model:
    """A feed-forward block; one channel of its norm is `gain` times the others, and the weights that read it are as much smaller."""
    rng = np.random.default_rng(0)
    gains = np.where(np.arange(64) == OUTLIER, gain, 1).astype(np.float32)
    up = rng.standard_normal((64, 128)).astype(np.float32) / 8 / gains[:, None]
    down = rng.standard_normal((128, 64)).astype(np.float32) / 11
    return model(
        """<ir_version: 8, opset_import: ["" : 20]> agraph (float[N,12,64] x) => (float[N,12,64] y)
        { n = LayerNormalization <axis = -1> (x, gains) u = MatMul(n, up) g = Gelu(u) y = MatMul(g, down) }""",
        gains=gains,
        up=up,
        down=down,
    )


def batches(count: int) -> list[Feed]:
    rng = np.random.default_rng(1)
    return [{"x": rng.standard_normal((4, 12, 64)).astype(np.float32)} for _ in range(count)]


def chosen(net: ir.Model) -> Choice:
    return quantize(net, batches(5)[:4], Config())


def test_an_outlier_channel_does_not_destroy_the_default_int8_failure_25() -> None:
    """failures.md 25: one static scale from the extremes loses the block; what the default chooses does not."""
    net, unseen = block(), batches(5)[4]
    one_scale = insert(net, plan_of(net, batches(4), method="minmax"))
    assert sqnr(net, one_scale, unseen) < 12
    default = chosen(net).model
    assert default is not None
    assert {n.op_type for n in default.graph} >= {"QuantizeLinear", "DequantizeLinear"}
    assert sqnr(net, default, unseen) > 30


def test_without_outliers_one_scale_would_do() -> None:
    net, unseen = block(gain=1), batches(5)[4]
    assert sqnr(net, insert(net, plan_of(net, batches(4), method="minmax")), unseen) > 25


OPTIONAL = {"pillow": "PIL", "dask[distributed]": "dask", "amd-quark": "quark", "scikit-learn": "sklearn"}
"""Distributions whose module has another name."""

OURS = {"pytest", "hypothesis", "ruff", "mypy", "import-linter"}
"""Optional, but what runs or checks this test."""


def optional_modules() -> list[str]:
    content = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))
    asked = [line.split(">=")[0] for extra in content["project"]["optional-dependencies"].values() for line in extra]
    names = [OPTIONAL.get(name, name.replace("-", "_")) for name in asked if name not in OURS]
    return [*names, "onnxruntime.quantization", "onnxruntime.transformers", "neural_compressor"]


def test_smoothing_needs_no_optional_package_failure_27(monkeypatch: pytest.MonkeyPatch) -> None:
    """failures.md 27: with every optional package, and the runtime's own tools, made impossible to import."""
    names = optional_modules()
    assert {"torch", "nncf", "onnxsim"} <= set(names)
    for name in names:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError):
        __import__(names[0])
    plan = chosen(block()).plan
    assert plan is not None
    assert any(site.smooth for site in plan.sites)
