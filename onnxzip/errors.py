"""What can go wrong, as exceptions.

Every message says three things: what cannot be done (naming the file, node or tensor), why, and what to do.
The command line turns them into one line and an exit code; Python callers catch `OnnxzipError`.
"""


class OnnxzipError(Exception):
    """Base of every error that onnxzip raises on purpose. Its text is meant for the user."""


class UsageError(OnnxzipError):
    """A setting is wrong: an unknown value, a contradiction, a pattern that matches nothing."""


class ModelError(OnnxzipError):
    """A model cannot be read, represented, run or written."""


class DataError(OnnxzipError):
    """Calibration or evaluation data cannot be read, or does not fit the model."""


class PassError(OnnxzipError):
    """An exact pass threw or broke the graph: a bug of onnxzip. Raised only under `strict`, else the pass is taken back."""


class Interrupted(KeyboardInterrupt):
    """The user interrupted a run that had something to show for it already.

    Attributes:
        done: what was finished: records as the run would have returned them, the stages of one model for `optimize`.
    """

    def __init__(self, done: object) -> None:
        super().__init__("interrupted")
        self.done = done


def root_cause(error: BaseException) -> BaseException:
    """What was raised first: `onnx_ir` wraps an error once a level of the graph."""
    while error.__cause__ is not None:
        error = error.__cause__
    return error


def first_line(error: BaseException) -> str:
    """What the error says, in a line that fits into a message."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
