import json
import shutil
from operator import itemgetter
from pathlib import Path
from typing import Any

import pytest

from blocks.errors import OutputInvalid
from blocks.mx.records import Message, Severity, Shell, Solution, UnitCell
from blocks.mx.xia2_results import read_solution, xtriage_messages
from tests.fakes.xia2_runs import GOOD, RECORDED

RUN = RECORDED / GOOD
SHARED = Path(__file__).parents[4] / "shared" / "data" / "xia2-runs"
SHELLS = ("overall", "innerShell", "outerShell")
CELL = ("a", "b", "c", "alpha", "beta", "gamma")

# Our name, ISPyB's column (in ispyb.json), the name in zocalo's messages (zocalo_object.json).
FIELDS = [
    ("d_max", "resolutionLimitLow", "res_lim_low"),
    ("d_min", "resolutionLimitHigh", "res_lim_high"),
    ("completeness", "completeness", "completeness"),
    ("multiplicity", "multiplicity", "multiplicity"),
    ("i_over_sigma", "meanIOverSigI", "mean_i_sig_i"),
    ("cc_half", "ccHalf", "cc_half"),
    ("r_merge", "rMerge", "r_merge"),
    ("r_meas_all", "rMeasAllIPlusIMinus", "r_meas_all_iplusi_minus"),
    ("r_meas_within", "rMeasWithinIPlusIMinus", "r_meas_within_iplusi_minus"),
    ("r_pim_all", "rPimAllIPlusIMinus", "r_pim_all_iplusi_minus"),
    ("r_pim_within", "rPimWithinIPlusIMinus", "r_pim_within_iplusi_minus"),
    ("n_observations", "nTotalObservations", "n_tot_obs"),
    ("n_unique", "nTotalUniqueObservations", "n_tot_unique_obs"),
    ("anomalous_completeness", "anomalousCompleteness", "anom_completeness"),
    ("anomalous_multiplicity", "anomalousMultiplicity", "anom_multiplicity"),
    ("cc_anomalous", "ccAnomalous", "cc_anom"),
]


def document(name: str) -> Any:
    return json.loads((RUN / name).read_text())


def found(directory: Path, **files: object) -> Solution:
    """Return what is read from a directory with these JSON documents (`_` for `.` and `-`)."""
    for name, content in files.items():
        path = directory / f"{name.replace('_', '-')}.json"
        path.write_text(content if isinstance(content, str) else json.dumps(content))
    return read_solution(directory)


@pytest.fixture(scope="module")
def from_ispyb_json() -> Solution:
    return read_solution(RUN)


@pytest.fixture
def from_xia2_json(tmp_path: Path) -> Solution:
    shutil.copy(RUN / "xia2.json", tmp_path)
    return read_solution(tmp_path)


@pytest.mark.parametrize(("ours", "column", "in_zocalo"), FIELDS)
@pytest.mark.parametrize("place", range(3))
def test_a_number_of_a_shell_is_the_one_that_xia2_gave(
    from_ispyb_json: Solution, place: int, ours: str, column: str, in_zocalo: str
) -> None:
    scaling = document("ispyb.json")["AutoProcScalingContainer"]["AutoProcScalingStatistics"]
    zocalo = document("zocalo_object.json")["scaling_statistics"]
    number = getattr(from_ispyb_json.shells[place], ours)

    assert number == scaling[place][column] == zocalo[SHELLS[place]][in_zocalo]


def test_every_field_of_a_shell_is_compared_but_two_that_xia2_did_not_give(
    from_ispyb_json: Solution,
) -> None:
    rest = set(Shell.model_fields) - {ours for ours, _, _ in FIELDS} - {"name"}

    assert rest == {"partial_bias", "d_min_i_over_sigma_2"}
    assert {getattr(shell, name) for shell in from_ispyb_json.shells for name in rest} == {None}


def test_the_shells_are_overall_inner_and_outer_in_any_order_of_rows(
    from_ispyb_json: Solution, tmp_path: Path
) -> None:
    turned = document("ispyb.json")
    turned["AutoProcScalingContainer"]["AutoProcScalingStatistics"].reverse()

    assert tuple(shell.name for shell in from_ispyb_json.shells) == SHELLS
    assert found(tmp_path, ispyb=turned).shells == from_ispyb_json.shells
    assert from_ispyb_json.overall.n_observations == 27260


def test_space_group_and_cell_are_those_that_xia2_refined(from_ispyb_json: Solution) -> None:
    refined = document("zocalo_object.json")["refined_results"]

    assert from_ispyb_json.space_group == refined["spacegroup"] == "P 41 21 2"
    assert from_ispyb_json.cell == UnitCell(**{one: refined[f"refinedcell_{one}"] for one in CELL})


def test_the_integration_has_its_images_cell_and_geometry(from_ispyb_json: Solution) -> None:
    (ours,), (theirs,) = (
        from_ispyb_json.integrations,
        document("zocalo_object.json")["integrations"],
    )
    geometry = ("refined_detector_dist", "refined_xbeam", "refined_ybeam")

    assert ours.cell == UnitCell(**{one: theirs[f"cell_{one}"] for one in CELL})
    assert (ours.start_image, ours.end_image) == (theirs["start_image_no"], theirs["end_image_no"])
    assert (ours.detector_distance, ours.beam_x, ours.beam_y) == itemgetter(*geometry)(theirs)
    assert (ours.image_directory, ours.file_template) == ("/data/sim2", "xtal2_1_####.cbf")


def test_xia2_json_gives_the_same_shells_cell_and_space_group(
    from_ispyb_json: Solution, from_xia2_json: Solution
) -> None:
    assert from_xia2_json.shells == from_ispyb_json.shells
    assert from_xia2_json.cell == from_ispyb_json.cell
    assert from_xia2_json.space_group == from_ispyb_json.space_group


def test_xia2_json_gives_the_same_integration_without_its_geometry(
    from_ispyb_json: Solution, from_xia2_json: Solution
) -> None:
    unknown = dict.fromkeys(("detector_distance", "beam_x", "beam_y"))

    assert from_xia2_json.integrations == (
        from_ispyb_json.integrations[0].model_copy(update=unknown),
    )


def test_ispyb_json_is_preferred_since_it_has_the_geometry(tmp_path: Path) -> None:
    for name in ("ispyb.json", "xia2.json"):
        shutil.copy(RUN / name, tmp_path)

    assert read_solution(tmp_path).integrations[0].beam_x == 89.06190763009896


@pytest.mark.parametrize(
    ("image", "template"),
    [
        ("xtal2_1_0000.cbf", "xtal2_1_####.cbf"),
        ("thau100_1_00000.cbf", "thau100_1_#####.cbf"),
        ("lyso_0000_2_000.img.gz", "lyso_0000_2_###.img.gz"),
        ("protk11_1_master.h5", "protk11_1_master.h5"),
        ("a0.nxs", "a0.nxs"),
        ("single.cbf", "single.cbf"),
    ],
)
def test_the_template_of_an_integration_is_found_back(
    image: str, template: str, tmp_path: Path
) -> None:
    ispyb = document("ispyb.json")
    ispyb["AutoProcScalingContainer"]["AutoProcIntegrationContainer"][0]["Image"]["fileName"] = (
        image
    )

    assert found(tmp_path, ispyb=ispyb).integrations[0].file_template == template


def test_of_several_wavelengths_the_last_has_the_statistics(tmp_path: Path) -> None:
    xia2 = document("xia2.json")
    (peak,) = xia2["_crystals"]["DEFAULT"]["_scaler"]["_scalr_statistics"].values()
    remote = peak | {"Total observations": [3, 2, 1]}
    xia2["_crystals"]["DEFAULT"]["_scaler"]["_scalr_statistics"] = {"peak": peak, "remote": remote}

    assert [shell.n_observations for shell in found(tmp_path, xia2=xia2).shells] == [3, 2, 1]


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
def test_a_number_that_xia2_could_not_calculate_is_not_said(number: float, tmp_path: Path) -> None:
    # Statistics over no pairs are NaN; MariaDB has no such number and refuses the whole shell.
    ispyb = document("ispyb.json")
    rows = ispyb["AutoProcScalingContainer"]["AutoProcScalingStatistics"]
    rows[2]["ccAnomalous"] = number

    assert found(tmp_path, ispyb=ispyb).shells[2].cc_anomalous is None


def test_xtriage_speaks_at_its_own_level() -> None:
    said = [(message.severity, message.message) for message in xtriage_messages(RUN)]

    assert len(said) == 9
    assert said[1] == (Severity.INFO, "Translational NCS does not appear to be present.")
    assert said[-1] == (Severity.WARNING, "The completeness is 82.06%.")


def test_xtriage_explains_in_full(from_ispyb_json: Solution) -> None:
    items = document("xia2-report.json")["xtriage"]

    assert from_ispyb_json.messages == xtriage_messages(RUN)
    assert [m.description for m in from_ispyb_json.messages] == [i["summary"] for i in items]


def test_xtriage_is_not_heard_on_the_space_group(tmp_path: Path) -> None:
    space_group = "The data may be assigned to the wrong space group."
    texts = [(2, "Twinned."), (1, space_group), (7, "?")]
    items = [{"level": level, "text": text, "summary": ""} for level, text in texts]
    (tmp_path / "xia2-report.json").write_text(json.dumps({"xtriage": items}))

    assert xtriage_messages(tmp_path) == (
        Message(severity=Severity.ERROR, message="Twinned."),
        Message(severity=Severity.WARNING, message="?"),
    )


def test_small_molecules_have_no_xtriage(tmp_path: Path) -> None:
    shutil.copy(RUN / "ispyb.json", tmp_path)

    assert read_solution(tmp_path).messages == ()
    assert found(tmp_path, xia2_report={}).messages == ()


@pytest.mark.parametrize("name", ["ispyb.json", "xia2.json", "xia2-report.json"])
@pytest.mark.parametrize("part", [0.0, 0.01, 0.5, 0.99])
def test_a_file_that_was_cut_is_no_result(name: str, part: float, tmp_path: Path) -> None:
    shutil.copy(RUN / "xia2.json", tmp_path)
    content = (RUN / name).read_bytes()
    (tmp_path / name).write_bytes(content[: int(part * len(content))])

    with pytest.raises(OutputInvalid, match="xia2's results cannot be read") as caught:
        read_solution(tmp_path)
    assert (caught.value.program, caught.value.directory) == ("xia2", tmp_path)


def test_a_directory_without_results_is_told(tmp_path: Path) -> None:
    with pytest.raises(OutputInvalid, match=r"cannot be read: FileNotFoundError.*xia2\.json"):
        read_solution(tmp_path)


@pytest.mark.parametrize("name", ["ispyb", "xia2", "xia2_report"])
@pytest.mark.parametrize("content", ["null", "[]", '"text"', "1", "\x00\x01"])
def test_json_of_another_shape_is_no_result(name: str, content: str, tmp_path: Path) -> None:
    shutil.copy(RUN / "xia2.json", tmp_path)

    with pytest.raises(OutputInvalid, match="xia2's results cannot be read"):
        found(tmp_path, **{name: content})


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("_scalr_statistics", {}),
        ("_scalr_statistics", None),
        ("_scalr_cell", [1, 2, 3]),
        ("_scalr_cell", [42.4, 42.4, 39.7, 90, 90, 180]),
        ("_scalr_likely_spacegroups", []),
        ("_scalr_integraters", None),
    ],
)
def test_a_run_that_was_not_scaled_is_no_result(key: str, value: object, tmp_path: Path) -> None:
    xia2 = document("xia2.json")
    xia2["_crystals"]["DEFAULT"]["_scaler"][key] = value

    with pytest.raises(OutputInvalid, match="xia2's results cannot be read"):
        found(tmp_path, xia2=xia2)


@pytest.mark.parametrize(
    "crystals", [{}, {"A": {"_scaler": {}}, "B": {}}, {"A": {"_scaler": None}}, [], None]
)
def test_a_run_has_exactly_one_scaled_crystal(crystals: object, tmp_path: Path) -> None:
    with pytest.raises(OutputInvalid, match="xia2's results cannot be read"):
        found(tmp_path, xia2={"_crystals": crystals})


@pytest.mark.skipif(
    not SHARED.is_dir(), reason="the full recordings lie beside the repository, in ../shared"
)
def test_the_full_recording_says_what_our_trimmed_copy_says(
    from_xia2_json: Solution, tmp_path: Path
) -> None:
    (full := tmp_path / "full").mkdir()
    for name in ("xia2.json", "xia2-report.json"):
        shutil.copy(SHARED / GOOD / name, full)

    assert read_solution(full) == from_xia2_json.model_copy(
        update={"messages": xtriage_messages(RUN)}
    )


@pytest.mark.skipif(
    not SHARED.is_dir(), reason="the full recordings lie beside the repository, in ../shared"
)
@pytest.mark.parametrize(
    "path", sorted(SHARED.glob("cases/*/xia2.json")), ids=lambda p: p.parent.name
)
def test_the_xia2_json_of_a_run_that_failed_is_no_result(path: Path) -> None:
    with pytest.raises(OutputInvalid, match="xia2's results cannot be read"):
        read_solution(path.parent)
