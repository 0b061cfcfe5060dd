"""Which of many steps is to blame, by bisection.

When the result of n deterministic steps fails a check that the start passes, there is a k with "k - 1 steps pass, k steps
fail". Halving the interval finds one in about log2(n) checks. (Where failures come and go along the way there are several
such k, and each of them names a step that turned a good state into a bad one.)
"""

from __future__ import annotations

from collections.abc import Callable


def first_bad(steps: int, check: Callable[[int], str | None]) -> tuple[int, str] | None:
    """The number k of a step that makes the check fail, counted from 1, and what the check says then.

    Args:
        steps: how many steps there are.
        check: what is wrong after the first k of them, or None.

    Returns:
        None when something is wrong before the first step, or nothing is after the last: then no step is to blame.

    >>> first_bad(100, lambda k: "too many" if k >= 37 else None)
    (37, 'too many')
    """
    reason = check(steps)
    if reason is None or check(0) is not None:
        return None
    good, bad = 0, steps
    while bad - good > 1:
        middle = (good + bad) // 2
        found = check(middle)
        if found is None:
            good = middle
        else:
            bad, reason = middle, found
    return bad, reason
