"""Peak memory: what loading a model and running one batch adds to a process, in bytes.

Each model is written to a file and run in a process of its own, one thread, with all of the runtime's optimizations, as it will be deployed. The process imports the
runtime and reads the batch first; what its peak resident memory grows by from there on is the figure: the weights, what loading them costs, and the activations.
The median of three processes is reported. Below some megabytes it is mostly the runtime's own needs.

Linux tells the peak of a process (VmHWM in /proc/self/status), macOS too (ru_maxrss); other systems are refused. (On Linux ru_maxrss would not do: a process inherits the
peak of the one that started it.)
"""

from __future__ import annotations

import contextlib
import os
import pickle
import re
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import onnx_ir as ir

from onnxzip.errors import ModelError, UsageError
from onnxzip.model.save import save
from onnxzip.progress import SILENT, Observer
from onnxzip.records import Memory
from onnxzip.runtime import Batch, run_file

REPEATS = 3


def compare_memory(original: ir.Model, candidate: ir.Model, batch: Batch, observer: Observer = SILENT) -> Memory:
    """The peak memory of both models on one batch.

    Raises:
        ModelError: a model does not run in a process of its own.
        UsageError: this system does not tell how much memory a process has used.
    """
    if sys.platform not in ("linux", "darwin"):
        raise UsageError(f"peak memory cannot be measured on {sys.platform}: leave max_memory away")
    with tempfile.TemporaryDirectory(prefix="onnxzip-") as name, observer.step("measure memory", 2 * REPEATS) as done:
        folder, peaks = Path(name), []
        (folder / "batch").write_bytes(pickle.dumps(dict(batch)))  # read by our own process below, and nothing else
        for number, model in enumerate((original, candidate)):
            path = folder / f"{number}.onnx"
            save(model, path)
            runs = []
            for _ in range(REPEATS):
                runs.append(_peak_of(path, folder / "batch"))
                done()
            peaks.append(int(statistics.median(runs)))
    return Memory(original=peaks[0], candidate=peaks[1], ratio=peaks[1] / max(peaks[0], 1))


def _peak_of(model: Path, batch: Path) -> int:
    """Run this file as a program."""
    here = str(Path(__file__).parents[2])
    paths = os.pathsep.join(filter(None, (here, os.environ.get("PYTHONPATH"))))
    command = [sys.executable, "-P", "-m", __spec__.name, str(model), str(batch)]
    environment = {**os.environ, "PYTHONPATH": paths, "OPENBLAS_NUM_THREADS": "1"}
    run = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)  # noqa: S603 - our own file
    if run.returncode != 0:
        lines = run.stderr.strip().splitlines() or [f"exit code {run.returncode}"]
        raise ModelError(f"the model does not run in a process of its own, where its memory is measured: {lines[-1]}")
    return int(run.stdout)


def _used(*, peak: bool) -> int:
    """Resident bytes of this process: at its peak, or now (macOS: at its peak)."""
    if sys.platform == "darwin":
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    status = Path("/proc/self/status").read_text()
    found = re.search(r"^%s:\s+(\d+) kB" % ("VmHWM" if peak else "VmRSS"), status, re.MULTILINE)
    if found is None:
        raise UsageError("this system does not tell how much memory a process has used: leave max_memory away")
    return 1024 * int(found[1])


def main(model: str, batch: str) -> None:
    """Load and run in this process, and tell by how much its memory grew."""
    feed = pickle.loads(Path(batch).read_bytes())  # noqa: S301 - written by `compare_memory`
    with contextlib.suppress(OSError):  # the peak so far, of the imports, is forgotten where the system allows it
        Path("/proc/self/clear_refs").write_text("5")
    before = _used(peak=False)
    run_file(model, feed)
    sys.stdout.write(str(max(_used(peak=True) - before, 0)))


if __name__ == "__main__":
    main(*sys.argv[1:])
