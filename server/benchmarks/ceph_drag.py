"""How long the panel takes to follow a landmark under the mouse: from the moved point to the updated table and tracing.

    PYTHONPATH=server:MahtAI:MahtAI/Testing/Python QT_QPA_PLATFORM=offscreen python server/benchmarks/ceph_drag.py

Slicer's real scene and markups (slicer-core), the panel on the tests' Qt kit. The time ends when table, labels and
lines hold the new values; drawing the frame after that is Slicer's. Each landmark is dragged in turn.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from pathlib import Path

import numpy as np
from ceph_kit import FACE, add_image, proposal
from kit import install
from kit.event_loop import spin
from kit.scene_context import make_context
from panel_kit import Reader


def main() -> None:
    """Measure and print JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--moves", type=int, default=60, help="of each landmark")
    moves = parser.parse_args().moves
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    with tempfile.TemporaryDirectory() as folder:
        os.environ["MAHTAI_CONFIG_DIR"] = os.environ["MAHTAI_DATA_DIR"] = folder
        with make_context(Path(folder) / "slicer") as context:
            install()
            from PySide6 import QtWidgets

            window = QtWidgets.QMainWindow()
            window.setObjectName("qSlicerMainWindow")
            reader = Reader(context)
            try:
                times_ms = drag_all(reader, moves)
            finally:
                reader.leave()
    percentiles = {f"p{share}": round(float(np.percentile(times_ms, share)), 2) for share in (50, 90, 99, 100)}
    print(json.dumps({"moves": len(times_ms), "ms": percentiles}))


def drag_all(reader: Reader, moves: int) -> list[float]:
    """Milliseconds of each move."""
    from PySide6 import QtWidgets

    from MahtAILib.scene.landmarks import index_of, positions_ras
    from MahtAILib.scene.provenance import Provenance

    image = add_image(reader.scene)
    spin(lambda: reader.panel.ceph.image.node is image, 10)
    reader.module.widgetRepresentation().show()
    state = reader.panel.ceph.landmarks
    state.show_result(proposal(), Provenance(model="toy 1"))
    node, table = state.node, reader.panel.ceph.measurements_section.ui.measurementsTable
    times_ms = []
    for key in FACE:
        index, start = index_of(node, key), positions_ras(node)[key]
        node.InvokeEvent(node.PointStartInteractionEvent, index)
        for move in range(1, moves + 1):
            began = time.perf_counter()
            node.SetNthControlPointPositionWorld(index, start[0] + 0.1 * move, start[1] - 0.05 * move, start[2])
            times_ms.append(1000 * (time.perf_counter() - began))
            QtWidgets.QApplication.processEvents()
        node.InvokeEvent(node.PointEndInteractionEvent, index)
        assert table.rowCount > 40
    return times_ms


if __name__ == "__main__":
    main()
