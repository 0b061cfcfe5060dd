"""Reshape as algebra on shapes: both are split into the smallest blocks of equal size.

Only blocks in which labels change matter: labels are spread over them and reshaped. So Flatten of (N, C, H, W) gives C · H · W positions
in which each label stands H · W times, and (N, g · n, H, W) as (N, g, n, H, W) gives labels that change along two axes.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np
import numpy.typing as npt

from onnxzip.model.shapes import Dim
from onnxzip.prune.labels import Labels, Twins


def reshaped(labels: Labels, before: Sequence[Dim] | None, after: Sequence[Dim] | None) -> Labels | str:
    """Labels of the output of a Reshape, or why they cannot be told."""
    if before is None or after is None:
        return "has a shape that is unknown"
    found = blocks(before, after)
    spread, shape = [1] * len(before), [1] * len(after)
    for axis in labels.axes:
        block = next((b for b in found if b[0].start <= axis < b[0].stop), None)
        if block is None:
            return "mixes its channels with an axis of unknown size"
        if before[axis] != labels.ids.shape[axis]:
            return "has a shape that contradicts its channels"
        inner, outer = block
        spread[inner] = [d for d in before[inner] if isinstance(d, int)]
        shape[outer] = [d for d in after[outer] if isinstance(d, int)]

    def move(content: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
        return np.broadcast_to(content, spread).reshape(shape)

    result = labels.moved(move)
    if (
        result.twins is not None and result.ids.size > labels.ids.size
    ):  # pixels of twins are twins of the same pixels only
        inside = [d if a not in labels.axes else 1 for a, d in enumerate(spread)]
        pixels = np.broadcast_to(np.arange(np.prod(inside)).reshape(inside), spread).reshape(shape)
        group = result.twins.group * int(np.prod(inside)) + np.where(result.twins.group > 0, pixels, 0)
        result = Labels(result.ids, result.known, Twins(group, result.twins.factor))
    return result.compact()


def inferred(before: Sequence[Dim], after: Sequence[Dim], target: Sequence[int | None]) -> tuple[Dim, ...]:
    """The shape after a Reshape, with the axis of -1 worked out where the axes of unknown size are the same before and after.

    >>> inferred(("N", 8, 2, 2), ("N", "unk__0"), (None, -1))
    ('N', 32)
    """
    if -1 not in target or len(target) != len(after):
        return tuple(after)
    free = target.index(-1)
    rest = [d for a, d in enumerate(after) if a != free]
    sizes = prod(d for d in rest if isinstance(d, int))
    names = [sorted(str(d) for d in dims if not isinstance(d, int)) for dims in (before, rest)]
    if isinstance(after[free], int) or names[0] != names[1] or None in rest or sizes == 0:
        return tuple(after)
    return (*after[:free], prod(d for d in before if isinstance(d, int)) // sizes, *after[free + 1 :])


def blocks(before: Sequence[Dim], after: Sequence[Dim]) -> list[tuple[slice, slice]]:
    """Split two shapes of equally many elements into the smallest blocks of equal size, from the right, then from the left.

    What lies between, around axes of unknown size that have no namesake, is not split, and not returned.

    >>> blocks(("N", 64, 2, 2), ("N", 256))
    [(slice(1, 4, None), slice(1, 2, None)), (slice(0, 1, None), slice(0, 1, None))]
    >>> blocks((2, 8, None, 3), (16, None, 5))
    [(slice(0, 2, None), slice(0, 1, None))]
    """
    found, i, j = _from_right(before, after)
    mirrored, _, _ = _from_right(before[:i][::-1], after[:j][::-1])
    return found + [(slice(i - b.stop, i - b.start), slice(j - a.stop, j - a.start)) for b, a in mirrored]


def _from_right(before: Sequence[Dim], after: Sequence[Dim]) -> tuple[list[tuple[slice, slice]], int, int]:
    found: list[tuple[slice, slice]] = []
    i, j = len(before), len(after)
    while i or j:
        if i and j and before[i - 1] == after[j - 1] and before[i - 1] is not None:
            found.append((slice(i - 1, i), slice(j - 1, j)))
            i, j = i - 1, j - 1
            continue
        step = _block(before[:i], after[:j])
        if step is None:
            break
        found.append((slice(step[0], i), slice(step[1], j)))
        i, j = step
    return found, i, j


def _block(before: Sequence[Dim], after: Sequence[Dim]) -> tuple[int, int] | None:
    """Where the last block starts in both shapes; None when an axis of unknown size is in the way."""
    i, j, left, right = len(before), len(after), 1, 1
    while True:
        take_left = left < right or (left == right and i > 0)
        if take_left:
            i -= 1
        else:
            j -= 1
        if min(i, j) < 0:
            return None
        size = before[i] if take_left else after[j]
        if not isinstance(size, int) or size == 0:
            return None
        left, right = (left * size, right) if take_left else (left, right * size)
        if left == right:
            return i, j
