"""Segmentation of studies that are named by their files: what is known of one already is not computed again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from torch import Tensor

from mahtai.inference.local_correction import Evidence
from mahtai.inference.options import Options
from mahtai.inference.prediction import LoadedModel
from mahtai.inference.preview import coarse_result, takes_long
from mahtai.inference.segmentation import SegmentationResult, Stopwatch, predict_prepared, restore
from mahtai.inference.study import Record, Report, prepare_study
from mahtai.inference.study_cache import KeptStudy, StudyCache, preparation_key
from mahtai.inference.study_files import read_study
from mahtai.security.at_rest.keys import Keys
from mahtai.volumes.volume import check_is_stack


class Studies:
    """The segmentation pipeline with a memory; for one thread."""

    def __init__(self) -> None:
        self._cache = StudyCache()

    def clear(self) -> None:
        """Give the memory back."""
        self._cache.clear()

    def prepare(
        self,
        inputs: Mapping[str, str],
        model: LoadedModel,
        options: Options,
        report: Report,
        cancelled: Callable[[], bool],
        watch: Stopwatch,
        anew: bool = False,
        keys: Keys | None = None,
    ) -> KeptStudy:
        """A study in the form that the network sees.

        Args:
            inputs: channel id → path of a volume that never changes.
            anew: though it may be in memory.
            keys: for volumes that are encrypted.

        Raises:
            MahtaiError: the study cannot be used.
            Cancelled: ``cancelled`` said so.
        """
        key = preparation_key(model.bundle.sha256, inputs, options)
        kept = None if anew else self._kept(key, model, inputs, options)
        if kept is None:
            before = dict(watch.seconds)
            with watch.time("load volumes"):
                study = read_study(inputs, keys)
            for volume in study.values():
                check_is_stack(volume.array.shape)
            record = Record()
            with watch.time("prepare"):
                prepared = prepare_study(study, model.bundle, options, model.device, report, record, cancelled)
            seconds = {stage: value for stage, value in watch.seconds.items() if stage not in before}
            kept = KeptStudy(prepared, record, seconds)
            self._cache.put(key, kept)
        return kept

    def _kept(self, key: str, model: LoadedModel, inputs: Mapping[str, str], options: Options) -> KeptStudy | None:
        found = self._cache.get(key)
        if found is None and options.check_sequences == "off":
            # one whose sequences were found to be right is prepared in the same way
            found = self._cache.get(
                preparation_key(model.bundle.sha256, inputs, replace(options, check_sequences="on"))
            )
        return found

    def segment(
        self,
        inputs: Mapping[str, str],
        model: LoadedModel,
        options: Options,
        report: Report,
        cancelled: Callable[[], bool],
        watch: Stopwatch,
        anew: bool = False,
        show: Callable[[SegmentationResult], None] | None = None,
        keys: Keys | None = None,
    ) -> SegmentationResult:
        """Segment a study; see ``prepare`` and ``segmentation.segment``.

        The summary says under ``reused`` what was in memory, and how long that had taken when it was made.

        Args:
            show: called with a coarse result where the full one takes long.
        """
        known = set(watch.seconds)
        kept = self.prepare(inputs, model, options, report, cancelled, watch, anew, keys)
        reused = {} if set(watch.seconds) - known else dict(kept.seconds)
        if show is not None and takes_long(kept.prepared, model, options):
            with watch.time("preview"):
                show(coarse_result(kept.prepared, model, options))
        probabilities, predicted = self._probabilities(kept, model, options, report, cancelled, watch, anew)
        if not predicted:
            reused["network"] = kept.seconds.get("network", 0.0)
        result = restore(probabilities, kept.prepared, model, options, kept.new_record(), report, watch)
        result.summary["reused"] = reused
        return result

    def evidence(
        self,
        inputs: Mapping[str, str],
        model: LoadedModel,
        options: Options,
        report: Report,
        cancelled: Callable[[], bool],
        watch: Stopwatch,
        keys: Keys | None = None,
    ) -> Evidence:
        """What the network saw in a study, and what it said; see ``prepare``."""
        kept = self.prepare(inputs, model, options, report, cancelled, watch, keys=keys)
        # however it was run: the faster way may have been found after the reader's run
        found = next((kept.probabilities[key] for key in kept.probabilities if key[1] == options.flips), None)
        if found is None:
            found, _ = self._probabilities(kept, model, options, report, cancelled, watch, False)
        return Evidence(kept.prepared, found)

    def _probabilities(
        self,
        kept: KeptStudy,
        model: LoadedModel,
        options: Options,
        report: Report,
        cancelled: Callable[[], bool],
        watch: Stopwatch,
        anew: bool,
    ) -> tuple[Tensor, bool]:
        """The network's output, and whether it was computed now."""
        key = (model.runtime, options.flips)
        if not anew and key in kept.probabilities:
            return kept.probabilities[key], False
        with watch.time("network"):
            found = predict_prepared(kept.prepared, model, options, report, cancelled)
        kept.probabilities[key] = found
        kept.seconds["network"] = watch.seconds["network"]
        return found, True
