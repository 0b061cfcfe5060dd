"""Numbers as people read them."""

from __future__ import annotations

import math


def size(count: float) -> str:
    """Bytes with a unit.

    >>> size(512), size(1_530_828), size(90_359_539)
    ('512 B', '1.53 MB', '90.4 MB')
    """
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= scale:
            return f"{count / scale:.3g} {unit}"
    return f"{count:.0f} B"


def decibels(value: float | None) -> str:
    """SQNR, where infinite means equal.

    >>> decibels(math.inf), decibels(31.25)
    ('equal', '31.2 dB')
    """
    if value is None:
        return "-"
    if math.isinf(value):
        return "equal" if value > 0 else "none in common"
    return f"{value:.1f} dB"


def share(value: float) -> str:
    """A share in percent.

    >>> share(0.984)
    '98.4 %'
    """
    return f"{100 * value:.1f} %"


def change(before: float, after: float) -> str:
    """How a quantity changed, in percent of what it was.

    >>> change(200, 50), change(3, 3), change(0, 0)
    ('-75 %', 'same', 'same')
    """
    if before == after:
        return "same"
    return f"{100 * (after - before) / before:+.0f} %" if before else "new"
