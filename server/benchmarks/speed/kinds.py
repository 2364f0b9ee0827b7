"""The kinds of warm runs, each on the study as the one before has left it."""

from __future__ import annotations

import time
from collections.abc import Mapping

import numpy as np

from MahtAILib.client.ahead import send_ahead
from speed.scene import Scene
from speed.whole_way import BROKEN, MODEL, NotMeasured, Run, Server, click
from speed.wire import Wire

KINDS = {
    "new": "the server has never seen the volumes",
    "there": "the volumes are there, and all is computed again",
    "option": "the same study with another option",
    "ahead": "new volumes, sent and prepared before the click, as the panel does when a study is chosen",
}

OTHER_OPTION = {"check_sequences": "off"}
"""One that the reader has in the panel."""


def round_of_ours(
    server: Server,
    scene: Scene,
    wire: Wire,
    case: str,
    options: Mapping[str, str],
    other: Mapping[str, str],
    pause_s: float,
) -> list[Run]:
    """One run of each kind, each looked at whether it was what it is called.

    Args:
        options: of all runs. other: on top of them, for the run with another option.
        pause_s: how long the reader looks at a study before the click.

    Raises:
        NotMeasured: volumes were there that should be new, or the network's old output was taken.
    """
    scene.touch()
    runs = [
        click(server, scene, wire, case, "new", options)[0],
        click(server, scene, wire, case, "there", options, rerun=True)[0],
        click(server, scene, wire, case, "option", {**options, **other})[0],
    ]
    scene.touch()
    send_ahead(server.connection, scene.take(), MODEL, options)
    time.sleep(pause_s)
    runs.append(click(server, scene, wire, case, "ahead", options)[0])
    size = sum(np.asarray(volume.array).nbytes for volume in scene.take().values())
    for run in runs:
        if (run.sent_bytes > size) != (run.kind == "new"):
            raise NotMeasured(f"A run ({run.kind}) sent {run.sent_bytes} bytes of a study of {size}.", BROKEN)
        if run.kind != "option" and not run.stages_s["forward"]:
            raise NotMeasured(f"A run ({run.kind}) did not run the network.", BROKEN)
    return runs
