"""The options of the commands, each written once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from onnxzip.config import CALIBRATE, OBJECTIVES, PREFERENCES, PRESETS, PRUNE_BY, TARGETS, Budget
from onnxzip.errors import UsageError

DEFAULT = Budget()

Model = Annotated[Path, typer.Argument(help="The ONNX model. It is only read.", show_default=False)]
Original = Annotated[Path, typer.Argument(help="The model to hold against.", show_default=False)]
Candidate = Annotated[
    Path, typer.Argument(help="The model that would replace it, whoever made it.", show_default=False)
]


def _option(*names: str, help: str, metavar: str | None = None) -> typer.models.OptionInfo:  # noqa: A002 - typer's word
    return typer.Option(*names, help=help, metavar=metavar, show_default=False)  # type: ignore[no-any-return]


Out = Annotated[
    Path | None, _option("--out", "-o", help="Where to write the result. Default: MODEL.opt.onnx beside the input.")
]
Data = Annotated[
    str | None,
    _option(
        "--calibration",
        "-c",
        metavar="DATA",
        help="Real inputs: a .npz, a folder of .npz, .npy or test_data_set_*, or module:function.",
    ),
]
Evaluation = Annotated[
    str | None,
    _option(
        "--evaluation",
        "-e",
        metavar="DATA",
        help="Data for the verdict. Default: a part of the calibration data is held out.",
    ),
]
Preset = Annotated[
    str | None,
    _option(
        "--preset",
        help=f"One of {', '.join(PRESETS)}. Default: int8 with data, exact without. weights8, weights4, fp16: smaller, not faster; data optional.",
    ),
]
Target = Annotated[
    str,
    typer.Option(
        help=f"Where the model will run: {', '.join(TARGETS)}. cpu is onnxruntime on this machine; qnn16 has 16-bit activations."
    ),
]
Objective = Annotated[
    str,
    typer.Option(
        help=f"{', '.join(OBJECTIVES)}: int8 must be as fast as the float result, may be a tenth slower, or just small; the same for widths that pruning leaves."
    ),
]
SearchTime = Annotated[
    float,
    _option(
        "--search-time",
        metavar="SECONDS",
        help="Let int8 look for what holds more (equalized channels, nodes left float, other ranges) until it took so long, calibration included; 0: do not.",
    ),
]
Prune = Annotated[
    str | None,
    _option(
        "--prune",
        metavar="SHARE|auto",
        help="Prune channels until this share of the multiply-adds is gone, or as many as the budget allows (auto). Needs data.",
    ),
]
PruneBy = Annotated[str, typer.Option("--prune-by", help=f"What the share is of: {' or '.join(PRUNE_BY)}.")]
RoundTo = Annotated[
    int | None,
    _option(
        "--round-to", help="Pruned layers end at a multiple of so many channels. Default: the target's (8 on cpu)."
    ),
]
AllowUnverified = Annotated[
    bool,
    typer.Option(
        "--allow-unverified",
        help="Without data: prune by the size of weights, calibrate --preset int8 on made-up inputs. What it costs on real ones is unknown.",
    ),
]
MinAgreement = Annotated[
    float | None, typer.Option(help="Smallest share of equal decisions, of outputs that look like class scores.")
]
MinSqnr = Annotated[float | None, typer.Option(help="Smallest SQNR in dB, of the other float outputs.")]
MinCosine = Annotated[float | None, _option("--min-cosine", help="Smallest cosine, of any float output.")]
MaxAbsError = Annotated[float | None, _option("--max-abs-error", help="Largest absolute error of any output.")]
MaxRelError = Annotated[
    float | None, _option("--max-rel-error", help="The same, as a share of the output's largest value.")
]
ClassAxis = Annotated[
    int | None,
    _option("--class-axis", help="Where the classes of the outputs lie, such as 1 or -1. Default: it is found out."),
]
Labels = Annotated[
    str | None,
    _option("--labels", metavar="NAME", help="The array in the data that holds the right classes: shows the accuracy."),
]
MaxAccuracyDrop = Annotated[
    float | None,
    _option("--max-accuracy-drop", help="Largest loss of accuracy, such as 0.01. Needs --labels."),
]
Metric = Annotated[
    str | None,
    _option(
        "--metric",
        metavar="MODULE:FUNCTION",
        help="A figure of your own, higher is better: metric(outputs, labels, arrays), dicts of arrays over all samples.",
    ),
]
MinMetric = Annotated[float | None, _option("--min-metric", help="Smallest --metric of the result.")]
MaxMetricDrop = Annotated[float | None, _option("--max-metric-drop", help="Largest loss of --metric.")]
MaxSize = Annotated[
    float | None, _option("--max-size", help="Largest size of the result, as a share of the original's.")
]
MaxNodes = Annotated[
    float | None, _option("--max-nodes", help="Largest number of nodes, as a share of the original's.")
]
MaxMemory = Annotated[
    float | None, _option("--max-memory", help="Largest measured peak memory, as a share of the original's.")
]
MinSpeedup = Annotated[float | None, _option("--min-speedup", help="Smallest measured speed-up.")]
Confidence = Annotated[
    float | None,
    _option(
        "--confidence",
        help="Such as 0.95: limits must be held for sure so much; too few samples to tell do not pass (exit code 1). Default: the figures decide as they are.",
    ),
]
SaveWorst = Annotated[
    Path | None,
    _option(
        "--save-worst",
        metavar="DIR",
        help="Write the inputs of the worst samples there, to look at or to use as -c DIR.",
    ),
]
KeepFloat = Annotated[
    list[str] | None,
    _option(
        "--keep-float",
        metavar="PATTERN",
        help="Nodes that stay float: a regular expression over names, or an operator. Repeatable.",
    ),
]
Plan = Annotated[
    Path | None,
    _option(
        "--plan",
        help="Replay this quantization plan (JSON) instead of making one. Data for the verdict (-e) is enough then.",
    ),
]
SavePlan = Annotated[
    Path | None, _option("--save-plan", help="Write the quantization plan (JSON): to read, review, edit and replay.")
]
Json = Annotated[Path | None, _option("--json", help="Write everything that is shown, and more, as JSON.")]
Junit = Annotated[
    Path | None, _option("--junit", help="Write the verdict as JUnit XML, which CI systems show as tests.")
]
Markdown = Annotated[
    Path | None,
    _option("--markdown", help="Write the verdict as Markdown; appended where this is $GITHUB_STEP_SUMMARY."),
]
Settings = Annotated[
    Path | None,
    _option(
        "--config", metavar="FILE", help="A settings file: onnxzip.toml, or pyproject.toml with a table tool.onnxzip."
    ),
]
Report = Annotated[
    Path | None,
    _option(
        "--report",
        metavar="HTML",
        help="Write one HTML page for people: verdict, charts by layer and operator, what was done and why. Takes further runs of the model.",
    ),
]
Prefer = Annotated[
    str,
    typer.Option(
        help=f"{' or '.join(PREFERENCES)}: the file never grows, or constants are folded and weights fused even where it does (fewer nodes)."
    ),
]
VerifyEach = Annotated[
    bool, typer.Option("--verify-each", help="Compare numbers after every single pass, not once at the end (slower).")
]
Calibrate = Annotated[
    str,
    typer.Option(
        help=f"{' or '.join(CALIBRATE)}: take the ranges of int8 from all batches, or from about half of them in half the time."
    ),
]
KeepDefaults = Annotated[
    bool, typer.Option("--keep-defaults", help="Leave weights that are listed as graph inputs overridable.")
]
KeepBest = Annotated[bool, typer.Option("--keep-best", help="When the budget is missed, write the best exact model.")]
Force = Annotated[bool, typer.Option("--force", help="Overwrite an existing output.")]
Opset = Annotated[
    int | None,
    _option("--opset", help="Raise the model to this opset first: later ones have more operators (Gelu: 20)."),
]
AllowContrib = Annotated[
    bool,
    typer.Option("--allow-contrib", help="Use onnxruntime's own operators; other runtimes do not read the result."),
]
Strict = Annotated[
    bool, typer.Option("--strict", help="A pass that goes wrong is an error instead of being taken back.")
]
Speed = Annotated[bool, typer.Option("--speed", help="Measure the paired latency.")]
Layers = Annotated[
    bool | None,
    typer.Option(
        "--layers/--no-layers",
        help="Show where the error is born, layer by layer. By default layers are looked at, and judged, where the outputs differ; --no-layers judges outputs alone.",
    ),
]
Memory = Annotated[bool, typer.Option("--memory", help="Measure the peak memory.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress bars and no tables.")]


def share_or_auto(text: str | None) -> float | Literal["auto"] | None:
    """What --prune takes.

    Raises:
        UsageError: it is neither a number nor "auto".

    >>> share_or_auto("0.2"), share_or_auto("auto")
    (0.2, 'auto')
    """
    if text is None or text == "auto":
        return text  # type: ignore[return-value] # the one word that it can be
    try:
        return float(text)
    except ValueError as error:
        raise UsageError(f"--prune takes a share such as 0.2, or auto, not {text!r}") from error
