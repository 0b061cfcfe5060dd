"""Work in a process of its own: it may crash, hang or be ended by the system, and only its row is lost.

`run` starts it, `silence`, `one_thread` and `forget_peak` are for the work itself. Linux only (/proc).
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import multiprocessing
import os
import signal
import warnings
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
LEAVE = 5.0
"""Seconds that a process gets to end by itself once it has answered."""


class Lost(Exception):  # noqa: N818 - it is what became of the work, not a mistake of the caller
    """The work came to no end: it hung, or its process died."""


class Hung(Lost):
    """It took longer than it may."""


def run(work: Callable[..., Any], *arguments: Any, timeout: float | None = None, threads: int | None = None) -> Any:
    """What `work(*arguments)` returns, called in a fresh process.

    Args:
        work: a function of a module; arguments and answer are pickled.
        arguments: what it is given.
        timeout: seconds until it is ended.
        threads: of BLAS and OpenMP in it; None: what they choose.

    Raises:
        Hung: it took longer.
        Lost: its process died, or the work raised an exception, which the message names.
    """
    fresh = multiprocessing.get_context("spawn")
    mine, theirs = fresh.Pipe(duplex=False)
    process = fresh.Process(target=_work, args=(theirs, work, arguments))
    with _environment(threads):
        process.start()
    theirs.close()
    try:
        if not mine.poll(timeout):
            raise Hung(f"not done after {timeout:g} s")
        answer, problem = mine.recv()
    except EOFError:
        process.join()
        raise Lost(f"the process died ({_ending(process.exitcode)})") from None
    else:
        process.join(LEAVE)
    finally:
        process.kill()
        process.join()
    if problem is not None:
        raise Lost(problem)
    return answer


def _work(pipe: Connection, work: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    try:
        answer, problem = work(*arguments), None
    except BaseException as error:  # noqa: BLE001 - whatever another tool raises, SystemExit included
        answer, problem = None, why(error)
    pipe.send((answer, problem))


@contextlib.contextmanager
def _environment(threads: int | None) -> Any:
    before = {name: os.environ.get(name) for name in THREADS}
    if threads is not None:
        os.environ |= dict.fromkeys(THREADS, str(threads))
    try:
        yield
    finally:
        for name in THREADS:
            os.environ.pop(name, None)
        os.environ |= {name: value for name, value in before.items() if value is not None}


def _ending(code: int | None) -> str:
    return signal.Signals(-code).name if code is not None and code < 0 else f"exit code {code}"


def why(error: BaseException) -> str:
    """An exception in one short line."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:200]


def silence() -> None:
    """Nothing that this process prints, native libraries included, is seen any more."""
    sink = os.open(os.devnull, os.O_WRONLY)
    os.dup2(sink, 1)
    os.dup2(sink, 2)
    warnings.simplefilter("ignore")


def one_thread() -> None:
    """From now on, sessions that anybody in this process opens through onnxruntime's Python run on one thread."""
    import onnxruntime  # noqa: TID251 - every tool's sessions, onnxzip's among them

    opened = onnxruntime.InferenceSession.__init__

    def on_one_thread(self: Any, model: Any, sess_options: Any = None, *rest: Any, **named: Any) -> None:
        options = onnxruntime.SessionOptions() if sess_options is None else sess_options
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        opened(self, model, options, *rest, **named)

    onnxruntime.InferenceSession.__init__ = on_one_thread


def forget_peak() -> float:
    """Give back what is free, and let `peak` count from now. Returns what is held, in MB."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # else freed memory is used again, and does not show in the peak
    Path("/proc/self/clear_refs").write_text("5")
    return peak()


def peak() -> float:
    """Peak resident memory of this process in MB (2^20 bytes), since the start or `forget_peak`."""
    line = next(x for x in Path("/proc/self/status").read_text().splitlines() if x.startswith("VmHWM"))
    return int(line.split()[1]) / 1024
