"""Real models, with a third of the filters of every layer zeroed by hand: what comes out is exact."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from onnxzip.model.constants import parameters
from onnxzip.model.load import load
from onnxzip.prune import eliminate
from onnxzip.prune.rules import analyse
from tests.helpers.numerics import assert_equivalent

MODELS = Path(__file__).parents[2] / "models"
CORPUS = Path(os.environ.get("ONNXZIP_CORPUS", "/nowhere")) / "models"

needs_corpus = pytest.mark.skipif("ONNXZIP_CORPUS" not in os.environ, reason="the corpus is not there")


def zero_a_third(model: ir.Model) -> None:
    """Weights of a third of the filters become 0; where a bias is there, it becomes 0, -1 or 0.5."""
    rng, state = np.random.default_rng(0), analyse(model)
    for read in state.reads:
        dead = rng.permutation(len(read.outs))[: len(read.outs) // 3]
        for index in (1, 2):
            value = read.node.inputs[index] if index < len(read.node.inputs) else None
            if value is None or value.const_value is None or len(value.uses()) > 1:
                continue
            axis = next(c.axes[0] for c in state.cuts[read.node, index] if np.array_equal(c.ids, read.outs))
            content = np.moveaxis(np.array(value.const_value.numpy()), axis, 0)
            content[dead] = 0 if index == 1 else rng.choice([0.0, 0.0, 0.0, -1.0, 0.5], len(dead))
            value.const_value = ir.tensor(np.ascontiguousarray(np.moveaxis(content, 0, axis)), name=value.name)


@pytest.mark.parametrize("multiple", [1, 8])
def test_network_trained_for_sparsity(multiple):
    model = load(MODELS / "digits_resnet_sparse.onnx").model
    result, record = eliminate(model, multiple=multiple)
    assert record.removed >= 100
    assert parameters(result) < 0.6 * parameters(model)
    assert_equivalent(model, result, rtol=1e-5)
    assert multiple == 1 or all(w.after % 8 == 0 for w in record.widths)


@needs_corpus
def test_zero_filters_in_the_wild():
    model = load(CORPUS / "mobilenetv2_1.0_224_tf_dqfloat.onnx").model
    result, record = eliminate(model)
    assert record.removed == 11
    assert_equivalent(model, result, rtol=1e-5, sizes=(1,))


@needs_corpus
@pytest.mark.parametrize(
    ("name", "removed"),
    [
        ("cifar10_resnet20_ts_train_unfused_op13", 99),
        ("mlct_resnet8_cifar10_h5", 59),
        ("squeezenet_fp32_from_fp16_winml", 966),
        ("mlct_ad_autoencoder_h5", 338),
        ("mlct_vww_mbv1_h5", 561),
    ],
)
def test_zeroed_real_networks(name, removed):
    model = load(CORPUS / f"{name}.onnx").model
    zero_a_third(model)
    result, record = eliminate(model)
    assert record.removed == removed
    assert_equivalent(model, result, rtol=1e-5, sizes=(1,))
