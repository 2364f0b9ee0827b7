"""Cephalometry: landmark sets, measurements as data, their evaluation with intervals, tracing; numpy only.

Points go in as a mapping of landmark id to (x, y) in units of the image: x to the right, y DOWN, as the image is
shown, the face looking either way. A unit is a true millimetre only where ``mm_per_unit`` is 1.

Example:
    evaluation = evaluate(points, radii, mm_per_unit=0.1)
    for result in evaluation.results:
        print(result.measurement.name, result.text, result.note)
    drawing = tracing(points)
"""

from MahtAILib.cephalometry.analyses import load_analyses, shipped_analyses
from MahtAILib.cephalometry.chart import ChartRow, chart
from MahtAILib.cephalometry.drawing import Arc, Curve, Plane, Tracing
from MahtAILib.cephalometry.errors import AnalysisFileError
from MahtAILib.cephalometry.evaluation import evaluate
from MahtAILib.cephalometry.isbi import IsbiClass, isbi_classes
from MahtAILib.cephalometry.landmarks import Landmark, LandmarkSet, landmark, landmark_set, landmark_sets
from MahtAILib.cephalometry.measurements import Analysis, Measurement, MeasurementClass, Norm
from MahtAILib.cephalometry.orientation import Facing, facing_of
from MahtAILib.cephalometry.results import Evaluation, Result
from MahtAILib.cephalometry.superimposition import Superimposition, superimpose
from MahtAILib.cephalometry.tracing import tracing
from MahtAILib.cephalometry.wire import to_json

__all__ = [
    "Analysis",
    "AnalysisFileError",
    "Arc",
    "ChartRow",
    "Curve",
    "Evaluation",
    "Facing",
    "IsbiClass",
    "Landmark",
    "LandmarkSet",
    "Measurement",
    "MeasurementClass",
    "Norm",
    "Plane",
    "Result",
    "Superimposition",
    "Tracing",
    "chart",
    "evaluate",
    "facing_of",
    "isbi_classes",
    "landmark",
    "landmark_set",
    "landmark_sets",
    "load_analyses",
    "shipped_analyses",
    "superimpose",
    "to_json",
    "tracing",
]
