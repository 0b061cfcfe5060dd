"""Initializers that are also graph inputs: deliberate overridable defaults, or the habit of an old exporter.

Up to IR version 3 the specification made exporters list every weight as an input, and onnxruntime treats all of them as
constants. From IR version 4 a listed initializer is a default that the caller may override: interface. Exporters that kept
listing (nearly) every weight did not mean that; they are recognised by number.
"""

from __future__ import annotations

import onnx_ir as ir

HABIT_SHARE = 0.9
HABIT_COUNT = 4


def free_weights(model: ir.Model) -> tuple[str, ...]:
    """Take weights that an exporter listed as inputs wholesale out of the inputs. Deliberate defaults stay.

    Returns:
        A note that says what was done, or nothing.
    """
    graph = model.graph
    listed = [v for v in graph.inputs if v.name in graph.initializers]
    if not listed or not _is_habit(len(listed), len(graph.initializers), model.ir_version):
        return ()
    kept = [v for v in graph.inputs if v.name not in graph.initializers]
    graph.inputs.clear()
    graph.inputs.extend(kept)
    model.ir_version = max(model.ir_version or 0, 4)  # before IR 4, initializers must be inputs
    return (
        f"{len(listed)} of {len(graph.initializers)} weights were listed as graph inputs (a habit of old exporters); treated as constants. --keep-defaults turns this off.",
    )


def _is_habit(listed: int, initializers: int, ir_version: int) -> bool:
    if ir_version < 4:
        return True
    return listed >= HABIT_COUNT and listed >= HABIT_SHARE * initializers
