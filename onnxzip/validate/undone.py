"""Pairs of values that are none, because the error of the pair is undone behind it.

What is lost: an error smaller than the rounding of the segment before it, in a model that rounds, may be taken for one that was undone.

A name may be reused: a layer takes in its scale, channels change their order or are equalized. Cut there, what reads the value is given the original's numbers where it
expects others, so it is suspect without fault. Let go of the pair, its error is gone. Which pairs are tried, few first, says `LEVELS`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from onnxzip.validate.energies import Energies
from onnxzip.validate.exact import EXACT_SQNR_DB
from onnxzip.validate.matching import Pair
from onnxzip.validate.opaque import Opaque

VICTIM_DB = 6.0
"""A value that is so much better in the candidate's own run than where it is fed was fed with something else than it expects."""

STEPS = 3
"""How far back what misled a value may lie, in matched values."""


@dataclass(frozen=True)
class Found:
    """The errors of one matched value, and where it lies in the candidate."""

    energies: Energies | Opaque
    inside: frozenset[str]
    """Names of the candidate's values between the nearest cuts and this one."""
    sources: frozenset[str]
    """The nearest cuts."""


def misread_by_victims(pairs: Sequence[Pair], found: Mapping[str, Found]) -> set[str]:
    """What is read by suspects that are right in the candidate's own run and wrong where they are fed, back to the nearest suspect, a few steps at most.

    That some pair on the way is none is sure, so these are let go whatever comes of it.
    """
    partner = {p.counterpart: p.name for p in pairs}
    wrong, last = set[str](), [n for n, f in found.items() if is_victim(f)]
    for _ in range(STEPS):
        names = {partner.get(s, "") for n in last for s in found[n].sources} - wrong
        off = {n for n in names if n in found and not _is_exact(found[n].energies.gathered_db)}
        wrong |= off
        last = [n for n in off if not found[n].energies.suspect]
    return wrong


def is_victim(f: Found) -> bool:
    """Whether a suspect is right in the candidate's own run: the error of what it is fed, not its own."""
    if not f.energies.suspect:
        return False
    born, own = f.energies.born_db, f.energies.gathered_db
    return born is not None and own is not None and own > born + VICTIM_DB


def _read_by_suspects(pairs: Sequence[Pair], found: Mapping[str, Found]) -> set[str]:
    """Suspects that suspects read."""
    read = {n for f in found.values() if f.energies.suspect for n in f.sources}
    return {p.name for p in pairs if p.counterpart in read and found[p.name].energies.suspect}


def _between_suspects(pairs: Sequence[Pair], found: Mapping[str, Found]) -> set[str]:
    """Suspects that suspects read through values that are off only because of what they read, and these."""
    partner, readers = {p.counterpart: p.name for p in pairs}, dict[str, list[str]]()
    for name, f in found.items():
        for source in f.sources:
            readers.setdefault(partner.get(source, ""), []).append(name)
    suspects = {n for n, f in found.items() if f.energies.suspect}
    passing = {n for n, f in found.items() if n not in suspects and _passes(f)}
    before = _reached(suspects, {n: [partner.get(c, "") for c in f.sources] for n, f in found.items()}, passing)
    behind = _reached(suspects, readers, passing)
    between = passing & before & behind
    return between | {n for n in suspects if between.intersection(readers.get(n, ()))}


def _origins(pairs: Sequence[Pair], found: Mapping[str, Found]) -> set[str]:
    """From every suspect value back along values that are off only because of what they read, to where that begins."""
    partner = {p.counterpart: p.name for p in pairs}
    origins, pending = set[str](), [n for n, f in found.items() if f.energies.suspect]
    while pending:
        for source in found[pending.pop()].sources:
            name = partner.get(source, "")
            if name in origins or name not in found or found[name].energies.suspect:
                continue
            if not _is_exact(found[name].energies.gathered_db):
                origins.add(name)
                pending += [name] if _passes(found[name]) else []
    return origins


LEVELS = (misread_by_victims, _read_by_suspects, _between_suspects, _origins)
"""Which pairs are doubted, few first: the more are let go at once, the longer the segments, and the more is explained."""


def _passes(f: Found) -> bool:
    """Whether a value is off, but not by anything of its own."""
    return _is_exact(f.energies.born_db) and not _is_exact(f.energies.gathered_db)


def _reached(starts: Collection[str], steps: Mapping[str, Sequence[str]], within: Collection[str]) -> set[str]:
    """What can be reached from somewhere by at least one step, all of it within a set."""
    found, pending = set[str](), list(starts)
    while pending:
        for name in steps.get(pending.pop(), ()):
            if name in within and name not in found:
                found.add(name)
                pending.append(name)
    return found


def _is_exact(db: float | None) -> bool:
    return db is not None and db >= EXACT_SQNR_DB
