"""What `explore` tries, in the order of what it is likely to bring for its time, and how each model is made of the exact result."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import onnx_ir as ir

from onnxzip.calibrate.data import Data
from onnxzip.config import Config, Preset
from onnxzip.progress import Observer
from onnxzip.prune.lossy import Ranking, rank, refit, shrink
from onnxzip.quantize.choose import quantize
from onnxzip.quantize.choose_weights import quantize_weights
from onnxzip.quantize.half import to_half
from onnxzip.quantize.targets import target_row


@dataclass(frozen=True)
class Trial:
    """One combination of settings: `Config.preset` and `Config.prune`.

    >>> Trial("int8", 0.2).name, Trial("int8", 0.2).slug, Trial("int8", 0.2).done
    ('prune 0.2 + int8', 'prune0.2-int8', 'pruned+int8')
    """

    preset: Preset
    prune: float | None = None

    @property
    def name(self) -> str:
        """As tables show it."""
        parts = [] if self.prune is None else [f"prune {self.prune:g}"]
        return " + ".join([*parts, *([self.preset] if self.preset != "exact" or not parts else [])])

    @property
    def slug(self) -> str:
        """As a part of a file's name."""
        return self.name.replace(" + ", "-").replace(" ", "")

    @property
    def kind(self) -> str:
        """Trials of one kind take about as long."""
        return "prune" if self.preset == "exact" and self.prune is not None else self.preset

    @property
    def done(self) -> str:
        """As the provenance of the model says it."""
        return "+".join(["pruned"] * (self.prune is not None) + [self.preset])

    @property
    def before(self) -> Trial:
        """What `optimize` judges on the way to it: the pruned model, or the exact one."""
        return Trial("exact", self.prune)

    @property
    def settings(self) -> Mapping[str, object]:
        """The fields of `Config`."""
        return {"preset": self.preset, **({} if self.prune is None else {"prune": self.prune})}

    def of(self, config: Config) -> Config:
        """The configuration that makes this model. What no quantization would read is left at its default, as `optimize` wants it."""
        keep = () if self.preset == "exact" else config.keep_float
        return dataclasses.replace(config, preset=self.preset, prune=self.prune, keep_float=keep)


SHARES = (0.1, 0.2, 0.3, 0.5)
"""Shares of the multiply-adds (or of what `prune_by` says) that pruning removes."""

TRIALS: tuple[Trial, ...] = (
    Trial("exact"),
    Trial("int8"),
    Trial("weights8"),
    Trial("fp16"),
    Trial("weights4"),
    *(Trial(preset, share) for share in SHARES for preset in ("exact", "int8")),
)
"""All that is tried. A pruned model is made once, for the trial that returns it and the one that quantizes it."""


def file_name(model: Path | None, trial: Trial) -> str:
    """The name of the file that holds the model of a trial.

    >>> file_name(Path("nets/digits.onnx"), Trial("int8", 0.2)), file_name(None, Trial("exact"))
    ('digits.prune0.2-int8.onnx', 'model.exact.onnx')
    """
    stem = "model" if model is None else model.name.removesuffix(".onnx")
    return f"{stem}.{trial.slug}.onnx"


@dataclass(frozen=True)
class Made:
    """A model, or None and why there is none."""

    model: ir.Model | None
    why: str = ""


class Candidates:
    """Makes the models of trials, as `optimize` would.

    Args:
        exact: the exact result, which all others start from.
        tuning: data to tune on, never that of the verdict.
        config: the settings that trials share.
        observer: told of long steps.
    """

    def __init__(self, exact: ir.Model, tuning: Data, config: Config, observer: Observer) -> None:
        self._exact, self._tuning, self._config, self._observer = exact, tuning, config, observer
        self._ranking: Ranking | None = None
        self._pruned: tuple[float, Made] | None = None

    def make(self, trial: Trial) -> Made:
        """The model of a trial.

        Raises:
            ModelError, DataError: it cannot be made.
            UsageError: a pattern matches nothing.
        """
        base = Made(self._exact) if trial.prune is None else self._prune(trial.prune)
        if base.model is None or trial.preset == "exact":
            return base
        config, data, observer = trial.of(self._config), self._tuning, self._observer
        if trial.preset == "int8":
            choice = quantize(base.model, data, config, observer)
        elif trial.preset == "fp16":
            with observer.step("convert to float16"):
                choice = to_half(base.model, config)
        else:
            choice = quantize_weights(base.model, config, data, observer)
        return Made(choice.model, "" if choice.model is not None else choice.summary)

    def _prune(self, share: float) -> Made:
        """The exact result without its least important channels; the last one is remembered."""
        if self._pruned is None or self._pruned[0] != share:
            self._pruned = None
            self._pruned = share, self._shrink(share)
        return self._pruned[1]

    def _shrink(self, share: float) -> Made:
        config, observer = self._config, self._observer
        if self._ranking is None:
            self._ranking = rank(self._exact, self._tuning, observer=observer)
        multiple = target_row(config.target).channel_multiple if config.round_to is None else config.round_to
        shrunk = shrink(self._exact, self._ranking, ratio=share, by=config.prune_by, round_to=multiple)
        if not shrunk.record.removed:
            return Made(None, "no channel can go")
        return Made(refit(self._exact, shrunk, self._tuning, observer=observer)[0])
