"""Show that calibration needs no more memory for more batches, and that shards merge to what one run gives.

    python tools/calibration_memory.py        # about 15 seconds on one core; exit code 1 if either does not hold

Every inner tensor of models/digits_resnet.onnx is observed over 16, 64 and 256 batches of 125 to 128 seeded images each,
made one at a time, each count in a process of its own; its peak is what the operating system saw (`ru_maxrss`). One batch
brings about 17 MB of activations. Allowed is a growth, from 16 to 256 batches, of less than one batch's activations: a
collector that kept them would grow by 240 times that.

Few sizes take turns: onnxruntime's arena keeps what the largest shape took.

The parent process stays small and does no work itself: Linux counts the memory of the parent, at the moment a child is
started, to the peak of the child.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    from onnxzip.calibrate import Statistics

MODEL = Path(__file__).parent.parent / "models" / "digits_resnet.onnx"
COUNTS = (16, 64, 256)
IMAGES, SIZES = 128, 4  # a batch has 128 images or up to 3 fewer: batches may differ in shape
SHARDS = ((11, 16), (0, 5), (5, 11))  # of the first 16 batches, in another order
MEGABYTE = 1e6


class SeededBatches:
    """Batches `start` to `stop`, each made when it is asked for; a batch depends on its number alone."""

    def __init__(self, start: int, stop: int) -> None:
        self.start, self.stop = start, stop

    def __len__(self) -> int:
        return self.stop - self.start

    def __iter__(self) -> Iterator[dict[str, np.ndarray[Any, Any]]]:
        import numpy as np

        for index in range(self.start, self.stop):
            rng = np.random.default_rng(index)
            yield {"image": rng.random((IMAGES - index % SIZES, 1, 8, 8), np.float32)}


def main() -> None:
    if len(sys.argv) == 2:
        print(json.dumps(merge_shards() if sys.argv[1] == "merge" else measure(int(sys.argv[1]))))
        return
    print(f"{'batches':>8}  {'peak MB':>8}  {'growth MB':>9}  {'if all were kept MB':>19}  {'seconds':>7}")
    runs = [in_own_process(str(count)) for count in COUNTS]
    for count, run in zip(COUNTS, runs, strict=True):
        growth, kept = run["peak"] - runs[0]["peak"], count * run["activations"]
        print(f"{count:8d}  {run['peak']:8.1f}  {growth:9.1f}  {kept:19.0f}  {run['seconds']:7.1f}")
    allowed = runs[0]["activations"]
    flat = all(run["peak"] - runs[0]["peak"] < allowed for run in runs)
    print(
        f"memory {'does not grow' if flat else 'GROWS'} with the number of batches (tolerance {allowed:.1f} MB, one batch)"
    )

    merged = in_own_process("merge")
    equal = merged["equal"] and not merged["trivial"]
    print(
        f"{len(SHARDS)} shards merged {'equal' if equal else 'DIFFER FROM'} one run, over {merged['tensors']} tensors"
    )
    raise SystemExit(0 if flat and equal else 1)


def in_own_process(task: str) -> dict[str, Any]:
    done = subprocess.run([sys.executable, __file__, task], stdout=subprocess.PIPE, text=True, check=True)
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def measure(batches: int) -> dict[str, float]:
    """Peak memory of this process in MB after one collection, activations of the largest batch in MB, seconds."""
    began = time.perf_counter()
    statistics = collected(SeededBatches(0, batches))
    seconds = time.perf_counter() - began
    unit = 1 if sys.platform == "darwin" else 1024  # ru_maxrss: bytes there, KiB on Linux
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / MEGABYTE
    elements = sum(tensor.count for tensor in statistics.values())
    images = sum(IMAGES - index % SIZES for index in range(batches))
    return {"peak": peak, "activations": elements / images * IMAGES * 4 / MEGABYTE, "seconds": seconds}


def merge_shards() -> dict[str, Any]:
    """Whether the shards together equal one run; `trivial` if a shard alone does so already."""
    whole = collected(SeededBatches(0, COUNTS[0]))
    first, *others = (collected(SeededBatches(*shard)) for shard in SHARDS)
    merged = first
    for shard in others:
        merged = merged.merge(shard)
    return {"equal": merged == whole, "trivial": first == whole, "tensors": len(whole)}


def collected(batches: SeededBatches) -> Statistics:
    """Statistics of the input and of every inner tensor: more than calibration asks for."""
    from onnxzip.calibrate import collect
    from onnxzip.model.load import load

    model = load(MODEL).model
    inner = [node.outputs[0].name for node in model.graph if node.op_type != "Identity"]
    return collect(model, ["image", *(name for name in inner if name)], batches, threads=1)


if __name__ == "__main__":
    main()
