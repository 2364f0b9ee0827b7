"""What can be wrong with a file of measurements, in words for the person who wrote it."""

from __future__ import annotations

from MahtAILib.errors import ExplainedError


class AnalysisFileError(ExplainedError):
    """A file of measurements cannot be used; nothing of it is.

    The reason names the file and the measurement.
    """
