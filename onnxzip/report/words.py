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


def microseconds(value: float) -> str:
    """A time that is given in microseconds.

    >>> microseconds(0), microseconds(85.2), microseconds(1530), microseconds(2_400_000)
    ('0', '85 µs', '1.53 ms', '2.4 s')
    """
    if value >= 1e6:
        return f"{value / 1e6:.3g} s"
    if value >= 1e3:
        return f"{value / 1e3:.3g} ms"
    return f"{value:.0f} µs" if value else "0"


def short_share(value: float) -> str:
    """A share in percent with two digits that count, however small.

    >>> short_share(0.25), short_share(0.007), short_share(0.00003), short_share(0), short_share(0.25e-6), short_share(1.5)
    ('25 %', '0.70 %', '0.0030 %', '0 %', '< 0.0001 %', '150 %')
    """
    if 0 < value < 1e-6:
        return "< 0.0001 %"
    percent = 100 * value
    return f"{percent:#.2g}".rstrip(".") + " %" if 0 < percent < 99.5 else f"{percent:.0f} %"


def samples(count: int, kind: str) -> str:
    """So many samples.

    >>> samples(1, "held-out"), samples(1200, "given")
    ('1 held-out sample', '1,200 given samples')
    """
    return f"{count:,} {kind} sample{'s' if count != 1 else ''}"
