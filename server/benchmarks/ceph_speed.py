"""How long one cephalogram takes from file to landmarks: cold and warm, stage by stage, bf16 against fp32.

    python server/benchmarks/ceph_speed.py --image IMAGE --threads 2

Cold is a process of its own with nothing loaded. Warm times are medians of pairs run in turn, so that
whatever else the machine does meets both.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

MODEL = Path(__file__).resolve().parents[2] / "models" / "ceph_mahtnet"

COLD = """
import sys, time
started = time.perf_counter()
import torch
torch.set_num_threads(int(sys.argv[3]))
from pathlib import Path
from mahtai.inference.service import InferenceRequest, run
import tempfile
with tempfile.TemporaryDirectory() as folder:
    run(InferenceRequest(sys.argv[2], {"ceph": sys.argv[1]}, {}, folder), lambda stage, fraction: None, lambda: False)
print(time.perf_counter() - started)
"""


def main() -> None:
    """Measure and print JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--image", type=Path, required=True)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeat", type=int, default=15)
    asked = parser.parse_args()
    arguments = [str(asked.image), str(MODEL), str(asked.threads)]
    cold = float(subprocess.check_output([sys.executable, "-c", COLD, *arguments], text=True, timeout=300))

    import torch

    from mahtai.inference.landmarks.pipeline import detect
    from mahtai.inference.options import LandmarkOptions
    from mahtai.inference.prediction import load_model
    from mahtai.models.bundle import LandmarkBundle, read_bundle
    from mahtai.volumes.formats import read_volume

    torch.set_num_threads(asked.threads)
    bundle = read_bundle(MODEL)
    assert isinstance(bundle, LandmarkBundle)
    models = {precision: load_model(bundle, torch.device("cpu"), precision) for precision in ("bf16", "fp32")}
    seconds: dict[str, list[float]] = {name: [] for name in models}
    stages: dict[str, list[float]] = {}
    read: list[float] = []
    for turn in range(asked.repeat + 2):
        for precision, model in models.items():
            started = time.perf_counter()
            volume = read_volume(asked.image)
            loaded = time.perf_counter()
            result = detect(volume, model, LandmarkOptions(), lambda stage, fraction: None, lambda: False)
            if turn < 2:
                continue
            seconds[precision].append(time.perf_counter() - started)
            if precision == "bf16":
                read.append(loaded - started)
                for stage, value in result.summary["timings_s"].items():
                    stages.setdefault(stage, []).append(value)
    median = {name: statistics.median(values) for name, values in seconds.items()}
    print(
        json.dumps(
            {
                "threads": asked.threads,
                "cold_process_s": round(cold, 2),
                "warm_s": {name: round(value, 3) for name, value in median.items()},
                "warm_stages_bf16_s": {
                    "read file": round(statistics.median(read), 3),
                    **{stage: round(statistics.median(values), 3) for stage, values in stages.items()},
                },
                "fp32_over_bf16": round(median["fp32"] / median["bf16"], 2),
            },
            indent=1,
        )
    )


if __name__ == "__main__":
    main()
