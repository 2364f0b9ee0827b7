"""In a process of its own: MONAI runs our bundle by the bundle's own ``configs/inference.json``, nothing of it changed.

Only what the command line of ``monai.bundle run`` would set is set: the folders and the device. The network is built
and the weights are read once; an answer takes from the four files of a case to the written result.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import monai
import torch
from ignite.engine import Events
from monai.bundle import ConfigParser
from monai.engines.utils import IterationEvents

from speed.talk import Answer, answer_all


class Pipeline:
    """The bundle's evaluator, kept."""

    def __init__(self, bundle: str, work: str, device: str, first_case: str, window: list[int] | None) -> None:
        """Args: those of the command; ``window`` in place of the bundle's ``roi_size``, if given."""
        self._output = Path(work) / "results"
        parser = ConfigParser()
        parser.read_config(str(Path(bundle) / "configs" / "inference.json"))
        parser.read_meta(str(Path(bundle) / "configs" / "metadata.json"))
        parser["bundle_root"], parser["output_dir"] = bundle, str(self._output)
        parser["dataset_dir"] = str(Path(first_case).parent)
        parser["device"] = f"$torch.device({device!r})"
        parser["amp"] = device.startswith("cuda")  # as the file says, for the device that is asked for
        if window is not None:
            parser["inferer"]["roi_size"] = window
        parser.parse()
        parser.get_parsed_content("initialize")
        self._sequences = parser.get_parsed_content("sequences")
        self._dataset = parser.get_parsed_content("dataset")
        self._dataset.data = self._dataset.data[:1]
        self._evaluator = parser.get_parsed_content("evaluator")
        self._evaluator.state.epoch_length = 1
        self._times: dict[str, float] = {}
        for name, event in _EVENTS.items():
            self._evaluator.add_event_handler(event, self._note, name)

    def run(self, case: str) -> Answer:
        """Segment the case of this folder; seconds by stage and the file of the result."""
        self._dataset.data = [{"image": [f"{case}/{name}.nii.gz" for name in self._sequences]}]
        for old in self._output.rglob("*.nii.gz"):
            old.unlink()
        began = time.perf_counter()
        self._evaluator.run()  # what the file's "run" says
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        ended = time.perf_counter()
        [written] = self._output.rglob("*.nii.gz")
        times = self._times
        stages = {
            "preprocess": times["got"] - times["getting"],
            "forward": times["predicted"] - times["got"],
            "postprocess": times["done"] - times["predicted"],
        }
        stages["other"] = ended - began - sum(stages.values())
        return {"wall_s": ended - began, "stages_s": stages, "labels": str(written)}

    def _note(self, engine: Any, name: str) -> None:
        self._times[name] = time.perf_counter()


_EVENTS = {
    "getting": Events.GET_BATCH_STARTED,
    "got": Events.GET_BATCH_COMPLETED,
    "predicted": IterationEvents.FORWARD_COMPLETED,
    "done": Events.ITERATION_COMPLETED,
}


def main() -> None:
    """Answer ``build`` once, then ``run``."""
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    pipelines: list[Pipeline] = []

    def answer(question: Answer) -> Answer:
        if question.pop("do") == "build":
            pipelines[:] = [Pipeline(**question)]
            return {"versions": {"torch": torch.__version__, "monai": monai.__version__}}
        return pipelines[0].run(**question)

    answer_all(answer)


if __name__ == "__main__":
    main()
