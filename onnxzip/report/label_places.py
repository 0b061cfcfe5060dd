"""Where the labels of points go, so that none lies on another, on a point, or outside: greedy, the most important first.

Boxes are (left, bottom, right, top), in one unit whatever it is. Each label tries the places around its point, nearest first, and takes the first that is
free; where none is, the one that overlaps least. (Christensen, Marks, Shieber, ACM Transactions on Graphics 14, 1995, call that the greedy baseline; with a
dozen points it does.)
"""

from __future__ import annotations

from collections.abc import Sequence

Box = tuple[float, float, float, float]

_SIDES = ((1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (1, -1), (-1, 1), (-1, -1))
_STEPS = (1.0, 2.2, 3.6, 5.0, 6.6, 8.5, 11.0)
"""Distances that are tried, in gaps."""


def places(
    points: Sequence[tuple[float, float]],
    sizes: Sequence[tuple[float, float]],
    frame: Box,
    gap: float,
    also: Sequence[tuple[float, float]] = (),
) -> list[Box]:
    """A box for each label.

    Args:
        points: where the points are.
        sizes: width and height of each label.
        frame: what labels must stay in.
        gap: distance of a label from its point; a point's own box reaches 0.7 of it.
        also: further points that no label may lie on.

    >>> places([(5, 5), (5, 5)], [(4, 1), (4, 1)], (0, 0, 20, 10), 1)  # the second goes to the other side
    [(6.0, 4.5, 10.0, 5.5), (0.0, 4.5, 4.0, 5.5)]
    """
    reach = 0.7 * gap
    taken = [(x - reach, y - reach, x + reach, y + reach) for x, y in (*points, *also)]
    found: list[Box] = []
    for (x, y), (width, height) in zip(points, sizes, strict=True):
        tries = [_beside(x, y, width, height, side, gap * step) for step in _STEPS for side in _SIDES]
        inside = [b for b in tries if frame[0] <= b[0] and frame[1] <= b[1] and b[2] <= frame[2] and b[3] <= frame[3]]
        found.append(min(inside or tries, key=lambda b: sum(_overlap(b, t) for t in (*taken, *found))))
    return found


def _beside(x: float, y: float, width: float, height: float, side: tuple[int, int], gap: float) -> Box:
    """The box of a label on one side of its point; above and below it is centred."""
    across, up = side
    left = x + across * gap - (width if across < 0 else width / 2 if across == 0 else 0.0)
    bottom = y + up * gap - (height if up < 0 else height / 2 if up == 0 else 0.0)
    return left, bottom, left + width, bottom + height


def _overlap(one: Box, other: Box) -> float:
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    return width * height if width > 0 and height > 0 else 0.0
