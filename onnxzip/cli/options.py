"""The options of the commands, each written once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from onnxzip.config import OBJECTIVES, PREFERENCES, PRESETS, TARGETS, Budget

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
    str | None, _option("--preset", help=f"One of {', '.join(PRESETS)}. Default: int8 with data, exact without.")
]
Target = Annotated[str, typer.Option(help=f"Where the model will run: {', '.join(TARGETS)}.")]
Objective = Annotated[
    str,
    typer.Option(help=f"{' or '.join(OBJECTIVES)}: keep the few channels that keep widths fast, or remove every one."),
]
MinAgreement = Annotated[
    float | None, typer.Option(help="Smallest share of equal decisions, of outputs that look like class scores.")
]
MinSqnr = Annotated[float | None, typer.Option(help="Smallest SQNR in dB, of the other float outputs.")]
MaxAbsError = Annotated[float | None, _option("--max-abs-error", help="Largest absolute error of any output.")]
MaxSize = Annotated[
    float | None, _option("--max-size", help="Largest size of the result, as a share of the original's.")
]
MinSpeedup = Annotated[float | None, _option("--min-speedup", help="Smallest measured speed-up.")]
KeepFloat = Annotated[
    list[str] | None,
    _option(
        "--keep-float",
        metavar="PATTERN",
        help="Nodes that stay float: a regular expression over names, or an operator. Repeatable.",
    ),
]
Plan = Annotated[Path | None, _option("--plan", help="Replay this quantization plan (JSON) instead of making one.")]
SavePlan = Annotated[
    Path | None, _option("--save-plan", help="Write the quantization plan (JSON): to read, review, edit and replay.")
]
Json = Annotated[Path | None, _option("--json", help="Write everything that is shown, and more, as JSON.")]
Prefer = Annotated[
    str,
    typer.Option(
        help=f"{' or '.join(PREFERENCES)}: the file never grows, or constants are folded and weights fused even where it does (fewer nodes)."
    ),
]
VerifyEach = Annotated[
    bool, typer.Option("--verify-each", help="Compare numbers after every single pass, not once at the end (slower).")
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
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress bars and no tables.")]
