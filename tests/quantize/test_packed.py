"""Arrays as text and back, and what is refused."""

from __future__ import annotations

import base64
import tracemalloc
import zlib

import numpy as np
import pytest

from onnxzip.errors import UsageError
from onnxzip.quantize.packed import pack, unpack


@pytest.mark.parametrize("dtype", [np.int8, np.float32])
@pytest.mark.parametrize("shape", [(), (7,), (3, 5), (4, 2, 3, 3), (0, 3)])
def test_round_trip(dtype: type[np.generic], shape: tuple[int, ...]) -> None:
    array = np.asarray(np.random.default_rng(0).normal(0, 40, shape)).astype(dtype)
    found = unpack(pack(array), dtype, shape, "it")
    assert (found.dtype, found.shape) == (array.dtype, shape)
    np.testing.assert_array_equal(found, array)


def test_the_order_in_memory_does_not_count() -> None:
    array = np.arange(12, dtype=np.float32).reshape(3, 4)
    assert pack(np.asfortranarray(array)) == pack(array)
    np.testing.assert_array_equal(unpack(pack(array.T), np.float32, (4, 3), "it"), array.T)


def test_zeros_take_no_text() -> None:
    assert pack(np.zeros((4, 5), np.int8)) == ""
    assert not unpack("", np.int8, (4, 5), "it").any()
    assert unpack("", np.int8, (4, 5), "it").shape == (4, 5)


def test_a_wrong_shape_is_refused() -> None:
    text = pack(np.ones(6, np.float32))
    for shape in ((5,), (7,), (6, 2)):
        with pytest.raises(UsageError, match="it of the plan does not have the shape"):
            unpack(text, np.float32, shape, "it")


@pytest.mark.parametrize("size", [6, 600])
def test_damage_never_gives_another_array(size: int) -> None:
    """A few bits of a compressed text mean nothing: they may change."""
    array = np.random.default_rng(1).integers(1, 9, size).astype(np.int8)
    content, refused = base64.b64decode(pack(array)), 0
    for place in range(len(content)):
        broken = bytearray(content)
        broken[place] ^= 0x10
        try:
            found = unpack(base64.b64encode(broken).decode(), np.int8, (size,), "it")
            np.testing.assert_array_equal(found, array)
        except UsageError:
            refused += 1
    assert refused >= len(content) - 2


def test_a_text_without_its_end_is_refused() -> None:
    content = base64.b64decode(pack(np.arange(9, dtype=np.int8)))
    for end in range(1, len(content)):
        with pytest.raises(UsageError):
            unpack(base64.b64encode(content[:end]).decode(), np.int8, (9,), "it")


@pytest.mark.parametrize("text", ["!", "abc", "é", "AAAA"])
def test_what_is_no_such_text_is_damaged(text: str) -> None:
    with pytest.raises(UsageError, match="the bias of the plan is damaged"):
        unpack(text, np.float32, (3,), "the bias")


def test_a_bomb_takes_no_more_memory_than_the_array() -> None:
    text = base64.b64encode(zlib.compress(bytes(2**22), 9)).decode()
    tracemalloc.start()
    with pytest.raises(UsageError, match="does not have the shape"):
        unpack(text, np.int8, (10,), "it")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**17
