"""The one error hierarchy: everything the SDK raises on purpose is a :class:`DferError`.

Each class is also the builtin that a caller would expect, so ``except ValueError`` keeps working.
Messages say what was expected and what came; ``hint`` says what to do about it.
"""

from __future__ import annotations


class DferError(Exception):
    """Base of all errors of the SDK.

    Parameters
    ----------
    message
        One line: what was expected and what came.
    hint
        One line: the way out, e.g. a command. Shown by the command line, empty if there is none.
    """

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self.hint else self.message


class InvalidInput(DferError, ValueError):
    """An argument, a frame or a file is not what the call takes."""


class SourceNotFound(InvalidInput, FileNotFoundError):
    """The path of a source does not exist or cannot be read."""


class SourceLost(DferError, ConnectionError):
    """A live source gives no more frames: unplugged, ended, stalled; and reconnecting is off or took too long."""


class NoFaceFound(DferError, LookupError):
    """No face was found in any frame of the source."""


class WeightsNotFound(DferError, FileNotFoundError):
    """No weights under that name or path."""


class EngineUnavailable(DferError, RuntimeError):
    """The engine is not installed or cannot run here; the message lists the reasons."""


class PrecisionUnavailable(DferError, RuntimeError):
    """The engine is there but cannot compute in the requested precision."""


class CorruptArtifact(DferError, ValueError):
    """A file is truncated, tampered with or not of the format it claims."""


class CalibrationError(DferError, ValueError):
    """Calibration data or ranges are unfit: too few clips, identical batches, wrong shapes."""
