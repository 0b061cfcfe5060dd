"""Why two models cannot be compared: what differs between their interfaces, and what to do about it.

Besides what `onnxzip.model.signature.differences` says of every slot, these are recognised:

1. layout    the same axes in another order (NCHW beside NHWC);
2. type      the same shape, another element type;
3. name      the same place and type, another name;
4. shape     other sizes, or another number of axes.

Names of dynamic axes do not matter, and a candidate may take any size where the original takes one; what outputs are like is seen when the models run, so
of these only axes that both fix must be equal.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from onnxzip.model.signature import Signature, Slot, differences

Shape = tuple[str, ...]


def mismatches(original: Signature, candidate: Signature) -> tuple[str, ...]:
    """What keeps the candidate from being asked the same questions, one sentence each with what to do; empty when nothing does."""
    if not differences(original, candidate):
        return ()
    found = [
        *_of("input", original.inputs, candidate.inputs),
        *_of("overridable default", original.defaults, candidate.defaults),
        *_of("output", original.outputs, candidate.outputs),
    ]
    return tuple(found)


def _of(word: str, before: Sequence[Slot], after: Sequence[Slot]) -> Iterator[str]:
    names = [{s.name: s for s in slots} for slots in (before, after)]
    gone = [s for s in before if s.name not in names[1]]
    new = [s for s in after if s.name not in names[0]]
    for slot in before:
        other = names[1].get(slot.name)
        if other is not None and not _stands_in(slot, other, given=word != "output"):
            yield _differs(word, slot, other)
    for slot in tuple(gone):
        twin = next((s for s in new if s.type == slot.type), None)
        if twin is not None and len(gone) == len(new):
            gone.remove(slot)
            new.remove(twin)
            yield f"{word} {slot} of the original is called {twin.name!r} in the candidate: rename it"
    yield from (f"{word} {slot} is missing in the candidate: export it with the same {word}s" for slot in gone)
    yield from (f"{word} {slot} is only in the candidate: export it with the same {word}s" for slot in new)
    if not gone and not new and set(names[0]) == set(names[1]) and [s.name for s in before] != [s.name for s in after]:
        yield f"the {word}s are in another order: {', '.join(names[0])} in the original, {', '.join(names[1])} in the candidate"


def _stands_in(slot: Slot, other: Slot, *, given: bool) -> bool:
    """Whether the candidate's slot takes, or may give, what the original's does."""
    (kind, shape), (other_kind, other_shape) = _parts(slot.type), _parts(other.type)
    if slot.type == other.type:
        return True
    if kind != other_kind or "(" in slot.type or "(" in other.type:
        return False
    if shape is None or other_shape is None:
        return other_shape is None if given else True
    return len(shape) == len(other_shape) and all(
        a == b or not b.isdigit() or not (a.isdigit() or given) for a, b in zip(shape, other_shape, strict=True)
    )


def _differs(word: str, slot: Slot, other: Slot) -> str:
    """Cases 1, 2 and 4."""
    (kind, shape), (other_kind, other_shape) = _parts(slot.type), _parts(other.type)
    what = f"{word} {slot.name!r} is {slot.type} in the original and {other.type} in the candidate"
    if kind != other_kind:
        return f"{what}: another element type. Export both with the same one, or put a Cast at the {word}"
    if shape is None or other_shape is None:
        return f"{what}: another kind of value"
    if len(shape) == len(other_shape) > 2 and shape != other_shape and _sizes(shape) == _sizes(other_shape):
        return f"{what}: another layout, the same axes in another order. Export both in the same one, or put a Transpose at the {word}"
    return f"{what}: another shape. Export both with the same sizes and dynamic axes"


def _sizes(shape: Shape) -> list[str]:
    """The axes, whatever their order; symbols stand for any size."""
    return sorted(d if d.isdigit() else "?" for d in shape)


def _parts(text: str) -> tuple[str, Shape | None]:
    """Element type and shape of a type as text; no shape where it is no tensor of known rank.

    >>> _parts("float32[N,3,?]")
    ('float32', ('N', '3', '?'))
    """
    kind, bracket, rest = text.partition("[")
    if not bracket or not rest.endswith("]") or "(" in kind or rest == "...]":
        return kind, None
    inner = rest.removesuffix("]")
    return kind, tuple(inner.split(",")) if inner else ()
