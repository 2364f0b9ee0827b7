"""The gate before anything is sent: its decisions on a table of cases, and that they are the server's."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from scene_kit import add_volume

from MahtAILib.client.geometry import Geometry
from MahtAILib.scene.geometry import LEAST_OVERLAP, REFERENCE_ORDER, Relation, check, check_grids
from MahtAILib.scene.images import vtk_matrix
from MahtAILib.scene.volumes import VolumeError


def grid(shape: Any = (192, 192, 128), spacing: Any = (1, 1, 1), origin: Any = (-96, -96, -64)) -> Geometry:
    matrix = np.diag([*spacing, 1.0])
    matrix[:3, 3] = origin
    return Geometry(shape, matrix)


def turned(degrees: float) -> Geometry:
    angle = np.radians(degrees)
    matrix = np.eye(4)
    matrix[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    matrix[:3, 3] = matrix[:3, :3] @ (-96, -96, -64)
    return Geometry((192, 192, 128), matrix)


def flipped() -> Geometry:
    """The same voxels in the same places, counted from the other side: left-handed."""
    matrix = grid().ijk_to_ras.copy()
    matrix[2, 2], matrix[2, 3] = -1, -64 + 127
    return Geometry((192, 192, 128), matrix)


BRAIN = grid()
ONE_SLICE = VolumeError("“T2” has one slice only (256 × 256 × 1 voxels).", "Choose the whole series.")


@dataclass(frozen=True)
class Case:
    """A study, and what is said of one slot and of the whole."""

    grids: dict[str, Any]
    slot: str
    relation: Relation
    can_run: bool
    says: str
    register: str = "auto"
    twins: dict[str, list[str]] = field(default_factory=dict)


CASES = {
    "reference": Case({"t1c": BRAIN, "flair": BRAIN}, "t1c", Relation.REFERENCE, True, "the others are brought to"),
    "same grid": Case({"t1c": BRAIN, "flair": BRAIN}, "flair", Relation.SAME_GRID, True, "On the grid of T1c."),
    "same grid, registered": Case({"t1c": BRAIN, "t1": BRAIN}, "t1", Relation.SAME_GRID, True, "On the grid of T1c."),
    "same grid to a ten-thousandth of a millimetre": Case(
        {"t1c": BRAIN, "t1": grid(origin=(-96.0001, -96, -64))}, "t1", Relation.SAME_GRID, True, "On the grid"
    ),
    "half a voxel aside": Case(
        {"t1c": BRAIN, "t1": grid(origin=(-95.5, -96, -64))}, "t1", Relation.OTHER_GRID, True, "(1 × 1 × 1 mm)"
    ),
    "thick slices": Case(
        {"t1c": BRAIN, "flair": grid((512, 512, 24), (0.45, 0.45, 6), (-115, -115, -72))},
        "flair",
        Relation.OTHER_GRID,
        True,
        "On another grid (0.45 × 0.45 × 6 mm) than T1c: it will be registered to it and resampled.",
    ),
    "thick slices, registration off": Case(
        {"t1c": BRAIN, "flair": grid((512, 512, 24), (0.45, 0.45, 6), (-115, -115, -72))},
        "flair",
        Relation.OTHER_GRID,
        True,
        "resampled to it but not registered",
        "off",
    ),
    "oblique": Case({"t1c": BRAIN, "t2": turned(20)}, "t2", Relation.OTHER_GRID, True, "registered"),
    "left-handed": Case({"t1c": BRAIN, "t2": flipped()}, "t2", Relation.OTHER_GRID, True, "registered"),
    "just enough overlap": Case(
        {"t1c": BRAIN, "t2": grid(origin=(-96, -96, -64 + 63))}, "t2", Relation.OTHER_GRID, True, "registered"
    ),
    "just too little overlap": Case(
        {"t1c": BRAIN, "t2": grid(origin=(-96, -96, -64 + 65))}, "t2", Relation.ELSEWHERE, False, "49% of the space"
    ),
    "another patient": Case(
        {"t1c": BRAIN, "t2": grid(origin=(204, -96, -64))}, "t2", Relation.ELSEWHERE, False, "300 mm apart, 0%"
    ),
    "elsewhere, registration off": Case(
        {"t1c": BRAIN, "t2": grid(origin=(204, -96, -64))}, "t2", Relation.ELSEWHERE, False, "switch", "off"
    ),
    "elsewhere, registration on": Case(
        {"t1c": BRAIN, "t2": grid(origin=(204, -96, -64))}, "t2", Relation.ELSEWHERE, True, "search for it", "on"
    ),
    "a small volume inside a large one": Case(
        {"t1c": BRAIN, "t2": grid((40, 40, 40), origin=(-20, -20, -20))}, "t2", Relation.OTHER_GRID, True, "registered"
    ),
    "unusable": Case({"t1c": BRAIN, "t1": BRAIN, "t2": ONE_SLICE}, "t2", Relation.UNUSABLE, False, "one slice only"),
    "unusable reference": Case(
        {"t1c": ONE_SLICE, "t1": BRAIN, "t2": BRAIN}, "t2", Relation.SAME_GRID, False, "On the grid of T1"
    ),
    "in two slots": Case(
        {"t1c": BRAIN, "t1": BRAIN},
        "t1",
        Relation.DOUBLED,
        False,
        "The same volume is in T1c too",
        twins={"t1": ["t1c"], "t1c": ["t1"]},
    ),
    "one sequence only": Case({"t1c": BRAIN}, "t1c", Relation.REFERENCE, False, "The reference."),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_the_gate_decides_as_the_table_says(case: Case) -> None:
    checked = check_grids(case.grids, case.register, case.twins)
    said = checked.slots[case.slot]
    assert (said.relation, checked.can_run) == (case.relation, case.can_run)
    assert case.says in said.sentence
    if said.stops:
        assert any(said.sentence in reason for reason in checked.reasons)


@pytest.mark.parametrize(
    ("present", "reference"),
    [(("t2", "flair", "t1", "t1c"), "t1c"), (("t2", "flair", "t1"), "t1"), (("t2", "flair"), "flair")],
)
def test_the_reference_is_the_first_of_t1c_t1_flair_and_t2_that_is_there(
    present: tuple[str, ...], reference: str
) -> None:
    assert check_grids(dict.fromkeys(present, BRAIN)).reference == reference


def test_an_empty_study_cannot_run_and_says_what_is_needed() -> None:
    checked = check_grids({})
    assert not checked.can_run and checked.reference is None
    assert checked.reasons == ("At least two of T1, T1c, T2 and FLAIR are needed.",)


def test_every_reason_is_given_not_only_the_first() -> None:
    checked = check_grids({"t1c": BRAIN, "t1": ONE_SLICE, "t2": grid(origin=(900, 0, 0))})
    assert [reason.split(":")[0] for reason in checked.reasons] == ["T1", "T2"]


def test_order_overlap_and_number_of_sequences_are_the_servers() -> None:
    from mahtai.inference import study as server

    assert REFERENCE_ORDER == server.REFERENCE_ORDER
    assert LEAST_OVERLAP == server.LEAST_OVERLAP
    channels = [SimpleNamespace(id=slot) for slot in REFERENCE_ORDER]
    bundle: Any = SimpleNamespace(id="any", channels=channels, missing_channels_ok=True)
    for count in range(1, 5):
        slots = REFERENCE_ORDER[:count]
        try:
            server.choose_channels(dict.fromkeys(slots), bundle)  # type: ignore[arg-type]
            taken = True
        except server.StudyError:
            taken = False
        assert check_grids(dict.fromkeys(slots, BRAIN)).can_run == taken


@pytest.mark.parametrize("register", ["auto", "on", "off"])
@pytest.mark.parametrize("name", [name for name, case in CASES.items() if not case.twins and len(case.grids) > 1])
def test_where_volumes_lie_stops_a_run_exactly_where_the_server_stops_it(name: str, register: str) -> None:
    from mahtai.inference import study as server

    grids = {slot: found for slot, found in CASES[name].grids.items() if isinstance(found, Geometry)}
    reference = server._reference("auto", list(grids))
    study: Any = {slot: SimpleNamespace(geometry=found) for slot, found in grids.items()}
    try:
        server._check_places(study, list(grids), reference, SimpleNamespace(register=register))  # type: ignore[arg-type]
        stopped = False
    except server.StudyError:
        stopped = True
    assert check_grids(grids, register).can_run != stopped


def test_nodes_are_checked_with_their_transforms(slicer_context: Any) -> None:
    scene = slicer_context.scene
    voxels = np.zeros(BRAIN.shape, np.uint8)
    t1c, flair = (add_volume(scene, BRAIN, name, voxels) for name in ("T1c", "FLAIR"))
    assert check({"t1c": t1c, "flair": flair}).slots["flair"].relation is Relation.SAME_GRID
    transform = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    away = np.eye(4)
    away[0, 3] = 400
    transform.SetMatrixTransformToParent(vtk_matrix(away))
    flair.SetAndObserveTransformNodeID(transform.GetID())
    assert check({"t1c": t1c, "flair": flair}).slots["flair"].relation is Relation.ELSEWHERE
    t1c.SetAndObserveTransformNodeID(transform.GetID())
    assert check({"t1c": t1c, "flair": flair}).can_run


def test_one_volume_in_two_slots_stops_the_run_and_both_slots_say_so(slicer_context: Any) -> None:
    node = add_volume(slicer_context.scene, BRAIN, array=np.zeros(BRAIN.shape, np.uint8))
    checked = check({"t1c": node, "t1": node})
    assert {said.relation for said in checked.slots.values()} == {Relation.DOUBLED}
    assert not checked.can_run


def test_a_volume_that_was_deleted_stops_the_run(slicer_context: Any) -> None:
    scene = slicer_context.scene
    voxels = np.zeros(BRAIN.shape, np.uint8)
    t1c, t1, t2 = (add_volume(scene, BRAIN, name, voxels) for name in ("T1c", "T1", "T2"))
    scene.RemoveNode(t2)
    checked = check({"t1c": t1c, "t1": t1, "t2": t2})
    assert checked.slots["t2"].relation is Relation.UNUSABLE
    assert "no longer in the scene" in checked.reasons[0]
