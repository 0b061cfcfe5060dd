"""Sizes that are not known as numbers: polynomials with integer coefficients over symbols that stand for sizes.

A symbol is the size of an axis, so it is never negative, but it may be 0. What is said here holds for all such sizes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

Term = tuple[tuple[str, ...], int]

_LIMIT = 2**31
"""Coefficients beyond this are refused where sizes are computed: runtimes might overflow."""

_TERMS = 16
"""Longer polynomials are of no use."""


@dataclass(frozen=True)
class Size:
    """A sum of products of symbols, each with an integer factor, in one order: equal polynomials are equal objects.

    >>> n, s = Size.of("N"), Size.of("S")
    >>> str(n * s + Size.of(2) * n), (n + s) * n == n * n + s * n, (n * s * Size.of(6)).over(s * Size.of(3))
    ('N*S + 2*N', True, Size('2*N'))
    """

    terms: tuple[Term, ...]

    @classmethod
    def of(cls, size: int | str) -> Size:
        """A number, or the size that a symbol stands for."""
        if isinstance(size, str):
            return cls((((size,), 1),))
        return cls((((), int(size)),)) if size else cls(())

    @classmethod
    def _sum(cls, terms: Iterable[Term]) -> Size:
        total: Counter[tuple[str, ...]] = Counter()
        for symbols, factor in terms:
            total[symbols] += factor
        return cls(tuple(sorted(((s, f) for s, f in total.items() if f), key=lambda t: (-len(t[0]), t[0]))))

    def __add__(self, other: Size) -> Size:
        return self._sum((*self.terms, *other.terms))

    def __neg__(self) -> Size:
        return Size(tuple((symbols, -factor) for symbols, factor in self.terms))

    def __sub__(self, other: Size) -> Size:
        return self + -other

    def __mul__(self, other: Size) -> Size:
        return self._sum((tuple(sorted((*s, *t))), f * g) for s, f in self.terms for t, g in other.terms)

    @cached_property
    def known(self) -> int | None:
        """The number, where it is one."""
        if not self.terms:
            return 0
        return self.terms[0][1] if self.terms[0][0] == () else None

    @property
    def low(self) -> int | None:
        """A bound from below, or None."""
        return self._constant_term if all(f > 0 for s, f in self.terms if s) else None

    @property
    def high(self) -> int | None:
        """A bound from above, or None."""
        return self._constant_term if all(f < 0 for s, f in self.terms if s) else None

    @property
    def _constant_term(self) -> int:
        return self.terms[-1][1] if self.terms and self.terms[-1][0] == () else 0

    @property
    def sane(self) -> bool:
        """Whether it is short, and small enough for arithmetic without overflow."""
        return len(self.terms) <= _TERMS and all(abs(f) < _LIMIT and len(s) <= _TERMS for s, f in self.terms)

    @property
    def name(self) -> int | str:
        """The number; or the symbol; or the polynomial behind "=", which no symbol starts with."""
        if self.known is not None:
            return self.known
        symbols, factor = self.terms[0]
        return symbols[0] if len(self.terms) == 1 and len(symbols) == 1 and factor == 1 else f"={self}"

    def over(self, other: Size) -> Size | None:
        """The quotient when the division leaves no rest whatever the symbols are (but for a divisor of 0), else None."""
        if self == other and other.terms:
            return Size.of(1)
        if len(other.terms) != 1:
            return None
        divisor, by = other.terms[0]
        found: list[Term] = []
        for symbols, factor in self.terms:
            rest = Counter(symbols)
            rest.subtract(divisor)
            if factor % by or any(count < 0 for count in rest.values()):
                return None
            found.append((tuple(sorted(rest.elements())), factor // by))
        return self._sum(found)

    def __str__(self) -> str:
        return " + ".join("*".join((*((str(f),) if f != 1 or not s else ()), *s)) for s, f in self.terms) or "0"

    def __repr__(self) -> str:
        return f"Size('{self}')"


ZERO, ONE = Size.of(0), Size.of(1)


def product(sizes: Iterable[Size]) -> Size:
    """All of them multiplied."""
    result = ONE
    for size in sizes:
        result *= size
    return result


def equal(a: Size, b: Size) -> bool | None:
    """Whether two sizes are equal always (True), never (False), or nobody knows (None)."""
    if a == b:
        return True
    low, high = (a - b).low, (a - b).high
    return False if (low is not None and low > 0) or (high is not None and high < 0) else None


def less(a: Size, b: Size) -> bool | None:
    """Whether a < b always, never, or nobody knows."""
    low, high = (b - a).low, (b - a).high
    if low is not None and low > 0:
        return True
    return False if high is not None and high <= 0 else None


def least(a: Size, b: Size) -> Size | None:
    """The smaller one, as a symbol of its own where nobody knows which; None when it might be negative."""
    if less(b, a) is False:
        return a
    if less(a, b) is False:
        return b
    first, second = sorted((a, b), key=str)
    return _opaque(f"min({first}, {second})", a, b)


def greatest(a: Size, b: Size) -> Size | None:
    """The larger one where it is known."""
    if less(b, a) is False:
        return b
    return a if less(a, b) is False else None


def quotient(a: Size, b: Size) -> Size | None:
    """Integer division: exact, or of what is not negative by a positive number, then as a symbol of its own."""
    exact = a.over(b)
    if exact is not None:
        return exact
    return _opaque(f"({a})//{b}", a) if b.known is not None and b.known > 0 else None


def is_cut(size: Size, whole: Size) -> bool:
    """Whether `size` is the minimum of `whole` and a positive number.

    >>> is_cut(least(Size.of("N"), Size.of(512)), Size.of("N"))
    True
    """
    cut = str(size.name).removeprefix("=min(").removesuffix(")")
    numbers = (cut.removeprefix(f"{whole}, "), cut.removesuffix(f", {whole}"))
    return str(size.name).startswith("=min(") and any(n.isdecimal() and int(n) > 0 for n in numbers)


def broadcast(a: Size, b: Size) -> Size | None:
    """The size of an axis that two sizes are broadcast to, given that they can be; None when nobody knows."""
    if a == b or b == ONE:
        return a
    if a == ONE:
        return b
    for one, other in ((a, b), (b, a)):
        # a number that is not 1 is the result. With n, min(n, 512) gives n: either it is n, or it is 512 and does not fit
        if one.known is not None or is_cut(other, one):
            return one
    # a size that is at least 2 is no 1 that could be stretched
    return next((one for one in (a, b) if one.low is not None and one.low > 1), None)


def _opaque(text: str, *parts: Size) -> Size | None:
    """A symbol for what is computed from sizes that are not negative."""
    return Size.of(f"={text}") if all(p.low is not None and p.low >= 0 for p in parts) else None
