"""The shipped models and data are what models/README.md says."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from onnxzip.model.constants import array
from onnxzip.model.load import load
from onnxzip.model.signature import signature
from onnxzip.model.walk import is_op
from onnxzip.runtime import Session

MODELS = Path(__file__).parent.parent / "models"
PLAIN, SPARSE = "digits_resnet.onnx", "digits_resnet_sparse.onnx"
STREAMS = (("stem", "block1.second"), ("block2.second", "block2.shortcut"), ("block3.second", "block3.shortcut"))
INNER = ("block1.first", "block2.first", "block3.first")
both = pytest.mark.parametrize("name", [PLAIN, SPARSE])


@both
def test_model_is_small_valid_and_says_nothing_that_varies(name: str) -> None:
    path = MODELS / name
    assert path.stat().st_size < 1_000_000
    proto = onnx.load(str(path))
    onnx.checker.check_model(proto, full_check=True)
    assert not proto.producer_version
    assert not proto.metadata_props
    assert not any(node.doc_string or node.metadata_props for node in proto.graph.node)


@both
def test_interface_has_a_dynamic_batch(name: str) -> None:
    interface = signature(load(MODELS / name).model)
    assert [str(slot) for slot in interface.inputs] == ["image: float32[batch,1,8,8]"]
    assert [str(slot) for slot in interface.outputs] == ["scores: float32[batch,10]"]
    assert interface.defaults == ()


@both
def test_batch_size_does_not_change_the_scores(name: str) -> None:
    session, images = (
        Session(load(MODELS / name).model, level="none", threads=1),
        data("digits_evaluation")["image"][:7],
    )
    together = session.run({"image": images})["scores"]
    one_by_one = np.concatenate([session.run({"image": image[None]})["scores"] for image in images])
    np.testing.assert_allclose(together, one_by_one, rtol=0, atol=1e-4)


@both
def test_every_convolution_is_followed_by_its_own_batch_normalization(name: str) -> None:
    graph = load(MODELS / name).model.graph
    convolutions = [node for node in graph if is_op(node, "Conv")]
    assert len(convolutions) == 9
    for node in convolutions:
        assert len(node.inputs) == 2, "a bias would mean that something was fused"
        (use,) = node.outputs[0].uses()
        assert is_op(use.node, "BatchNormalization")
        assert use.node.attributes.get_int("training_mode", 0) == 0
        assert len(use.node.outputs) == 1


@both
def test_accuracy_is_what_the_readme_says(name: str) -> None:
    stated = re.search(rf"`{re.escape(name)}` \| (\d+) of (\d+) \| ([\d.]+) \|", (MODELS / "README.md").read_text())
    assert stated is not None
    evaluation = data("digits_evaluation")
    session = Session(load(MODELS / name).model, threads=1)
    right = int((session.run({"image": evaluation["image"]})["scores"].argmax(1) == evaluation["label"]).sum())
    total = len(evaluation["label"])
    assert total == int(stated[2])
    assert abs(right - int(stated[1])) <= 1, "a near tie may fall the other way on another processor, not more"
    assert f"{int(stated[1]) / total:.4f}" == stated[3]
    assert right / total >= (0.97 if name == PLAIN else 0.96)


def test_data_is_labelled_scaled_and_disjoint() -> None:
    calibration, evaluation = data("digits_calibration"), data("digits_evaluation")
    assert set(calibration) == {"image"}
    assert set(evaluation) == {"image", "label"}
    assert evaluation["label"].dtype == np.int64
    assert np.bincount(evaluation["label"]).min() >= 40, "every digit is there"
    for arrays, size in ((calibration, 256), (evaluation, 450)):
        image = arrays["image"]
        assert image.dtype == np.float32
        assert image.shape == (size, 1, 8, 8)
        assert set(np.unique(image * 16)) <= set(range(17)), "values are k/16"
    seen = {image.tobytes() for image in calibration["image"]}
    assert not seen & {image.tobytes() for image in evaluation["image"]}


def test_sparse_model_has_the_zero_channels_that_the_readme_counts() -> None:
    zero = zero_channels(SPARSE)
    for branches in STREAMS:
        for other in branches[1:]:
            np.testing.assert_array_equal(
                zero[branches[0]], zero[other], err_msg="a stream is zero in all its branches"
            )
    rows = re.findall(r"^\| (\S*block\d\.\S+|stem)\b.*\| (\d+) \| (\d+) \|$", (MODELS / "README.md").read_text(), re.M)
    stated = {layer: (int(count), int(size)) for layer, count, size in rows}
    assert stated == {layer: (int(zero[layer].sum()), len(zero[layer])) for layer in stated}
    assert set(stated) == {*(branches[0] for branches in STREAMS), *INNER}
    inner = np.concatenate([zero[layer] for layer in INNER])
    assert inner.mean() >= 1 / 3


def test_plain_model_has_no_zero_channel() -> None:
    assert not any(mask.any() for mask in zero_channels(PLAIN).values())


def data(name: str) -> dict[str, np.ndarray]:
    with np.load(MODELS / f"{name}.npz", allow_pickle=False) as file:
        return dict(file)


def zero_channels(name: str) -> dict[str, np.ndarray]:
    """Layer to mask of channels whose γ, β and filter are all exactly zero; a partly zeroed channel is an error."""
    found = {}
    for node in load(MODELS / name).model.graph:
        if not is_op(node, "BatchNormalization"):
            continue
        gamma, beta = held(node.inputs[1]), held(node.inputs[2])
        convolution = node.inputs[0].producer()
        assert is_op(convolution, "Conv")
        filters = held(convolution.inputs[1])
        mask = gamma == 0
        assert not beta[mask].any()
        assert not filters[mask].any()
        assert filters[~mask].any(axis=(1, 2, 3)).all()
        found[node.inputs[1].name.removesuffix(".norm.weight")] = mask
    return found


def held(value: ir.Value) -> np.ndarray:
    """The constant behind a value, through the Identity nodes with which torch shares equal tensors."""
    while is_op(node := value.producer(), "Identity"):
        value = node.inputs[0]
    found = array(value)
    assert found is not None
    return found
