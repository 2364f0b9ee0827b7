"""Where the time of one run went: every second of the client's clock falls into one stage, or into the remainder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

STAGES = {
    "export": "voxels out of the scene",
    "hash": "files in memory and their SHA-256",
    "upload": "asking what the server lacks, and sending it",
    "queue": "from asking for the job to its start",
    "load": "model and volumes",
    "preprocess": "register, resample, mask, normalize",
    "preview": "a coarse result while the full one is under way",
    "forward": "the network",
    "postprocess": "labels and confidence on the grid of the study",
    "encode": "files of the result",
    "other": "timings of the server that are in no group here",
    "store": "the rest of the server's time for the job: messages, keeping the result, tables",
    "download": "description and files of the result",
    "import": "decoding, doubtful places, segmentation into the scene",
}
"""Stage → what it is, in order."""

SERVER_GROUPS = (
    ("load", "load"),
    ("read", "load"),
    ("prepare", "preprocess"),
    ("register", "preprocess"),
    ("check", "preprocess"),
    ("mask", "preprocess"),
    ("resample", "preprocess"),
    ("crop", "preprocess"),
    ("normalize", "preprocess"),
    ("preview", "preview"),
    ("network", "forward"),
    ("forward", "forward"),
    ("predict", "forward"),
    ("restore", "postprocess"),
    ("confidence", "postprocess"),
    ("islands", "postprocess"),
    ("labels", "postprocess"),
    ("summary", "postprocess"),
    ("encode", "encode"),
    ("write", "encode"),
    ("compress", "encode"),
    ("store", "store"),
    ("keep", "store"),
)
"""First word of a key in the server's ``timings_s`` → stage. What fits nothing is ``other``."""

_PARTS = "/.:"
"""A key ``whole/part`` tells of what ``whole`` has counted already."""


@dataclass(frozen=True)
class Marks:
    """Moments of one run on one clock: seconds since the epoch.

    Attributes:
        clicked: the reader pressed Run. taken: the voxels were taken.
        asked: the first request went out. wished: the job was asked for.
        started, finished: of the job, as the server's table says.
        fetched: the result was asked for. there: it was there, whole. placed: it was in the scene.
    """

    clicked: float
    taken: float
    asked: float
    wished: float
    started: float
    finished: float
    fetched: float
    there: float
    placed: float


def grouped(timings_s: Mapping[str, float]) -> dict[str, float]:
    """The server's own timings by stage; ``total`` and parts of what is there as a whole are left out."""
    found: dict[str, float] = {}
    for key, seconds in timings_s.items():
        if key == "total" or any(mark in key and key.split(mark)[0] in timings_s for mark in _PARTS):
            continue
        stage = next((group for word, group in SERVER_GROUPS if key.lower().startswith(word)), "other")
        found[stage] = found.get(stage, 0.0) + float(seconds)
    return found


def by_stage(marks: Marks, timings_s: Mapping[str, float]) -> dict[str, float]:
    """Seconds of each stage, ``remainder`` last: their sum is the time from the click to the scene.

    The remainder is what is in no stage: above all, from the end of the job until the client has learned of it. It is
    negative where the server's timings overlap.
    """
    server = grouped(timings_s)
    of_server = {stage: server.get(stage, 0.0) for stage in STAGES}
    seconds = {
        **of_server,
        "export": marks.taken - marks.clicked,
        "hash": marks.asked - marks.taken,
        "upload": marks.wished - marks.asked,
        "queue": marks.started - marks.wished,
        "store": marks.finished - marks.started - sum(of_server.values()) + of_server["store"],
        "download": marks.there - marks.fetched,
        "import": marks.placed - marks.there,
    }
    wall = marks.placed - marks.clicked
    return {**{name: round(value, 4) for name, value in seconds.items()}, "remainder": round(wall - _sum(seconds), 4)}


def job_times(job: Mapping[str, Any]) -> tuple[float, float]:
    """Start and end of a job from its description, seconds since the epoch."""
    started, finished = (datetime.fromisoformat(job[name].replace("Z", "+00:00")) for name in _JOB_TIMES)
    return started.timestamp(), finished.timestamp()


_JOB_TIMES = ("started_at", "finished_at")


def _sum(seconds: Mapping[str, float]) -> float:
    return float(sum(seconds.values()))
