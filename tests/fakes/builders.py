"""Records of one plausible beamtime; a test names only what it is about.

The collection is the one of the slides that describe reprocessing (a thaumatin calibration, 1200
images); the solution has numbers that are all different, so that no two columns can be swapped
unseen.
"""

from typing import Any, cast
from uuid import UUID

from blocks.mx.records import (
    DataCollection,
    Integration,
    JobRequest,
    Message,
    Parameter,
    ProcessingJob,
    Severity,
    Shell,
    ShellName,
    Solution,
    Sweep,
    SweepRequest,
    UnitCell,
)
from blocks.mx.writer import Registration

A_DIRECTORY = "/dls/i03/data/2018/cm19644-1/2018_01_17/rot_calib/thau/thau_1/"
A_GUID = "86449557-7045-44dd-8892-0ccff51815e4"
SHELL_NAMES: tuple[ShellName, ...] = ("overall", "innerShell", "outerShell")

# The fields of a shell that xia2 fills, in the order of the numbers that `a_shell` gives them.
SHELL_FIELDS = (
    *("d_max", "d_min", "completeness", "multiplicity", "i_over_sigma", "cc_half", "r_merge"),
    *("r_meas_all", "r_meas_within", "r_pim_all", "r_pim_within", "partial_bias"),
    *("n_observations", "n_unique", "anomalous_completeness", "anomalous_multiplicity"),
    "cc_anomalous",
)
COUNTS = ("n_observations", "n_unique")


def a_collection(**given: Any) -> DataCollection:
    """Return a data collection of 1200 images."""
    usual = {
        "id": 2227029,
        "image_directory": A_DIRECTORY,
        "file_template": "thau_1_2_####.cbf",
        "start_image": 1,
        "n_images": 1200,
        "image_prefix": "thau_1",
        "number": 2,
        "proposal": "cm19644",
    }
    return DataCollection(**(usual | given))


def a_sweep(first: int = 1, last: int = 400, **given: Any) -> Sweep:
    """Return a sweep of images `first` to `last` of `a_collection()`, or of the given one."""
    usual = {"id": 1, "collection": a_collection(), "start_image": first, "end_image": last}
    return Sweep(**(usual | given))


def a_job(
    *sweeps: Sweep, parameters: tuple[tuple[str, str], ...] = (), **given: Any
) -> ProcessingJob:
    """Return a job of these sweeps (of one, unless given) and of parameters as pairs."""
    chosen = sweeps or (a_sweep(),)
    usual = {
        "id": 4024,
        "recipe": "xia2-dials",
        "collection": chosen[0].collection,
        "sweeps": chosen,
        "parameters": tuple(Parameter(key=key, value=value) for key, value in parameters),
    }
    return ProcessingJob(**(usual | given))


def a_request(
    *collections: DataCollection,
    ranges: tuple[tuple[int, int], ...] = ((801, 1200), (1, 400)),
    parameters: tuple[tuple[str, str], ...] = (),
    **given: Any,
) -> JobRequest:
    """Return the request for a job: these ranges of each collection, which are described in it."""
    chosen = collections or (a_collection(),)
    usual = {
        "recipe": "xia2-dials",
        "sweeps": tuple(
            SweepRequest(data_collection_id=collection.id, start_image=first, end_image=last)
            for collection in chosen
            for first, last in ranges
        ),
        "parameters": tuple(Parameter(key=key, value=value) for key, value in parameters),
        "data_collections": chosen,
        "display_name": "thaumatin again",
    }
    return JobRequest(**(usual | given))


def a_registration(job_id: int, collection_id: int | None, **given: Any) -> Registration:
    """Return an attempt at a job, as it is registered before xia2 starts."""
    usual = {
        "job_id": job_id,
        "program": "xia2 dials",
        "pipeline_id": 6,
        "command_line": "xia2 pipeline=dials min_images=3",
        "environment": f"guid={A_GUID}, flow_run=scarlet-boar",
        "uuid": UUID(A_GUID),
        "collection_id": collection_id,
    }
    return Registration(**(usual | given))


def a_cell(a: float = 78.1) -> UnitCell:
    """Return a tetragonal cell, as of lysozyme."""
    return UnitCell(a=a, b=a, c=37.2, alpha=90.0, beta=90.0, gamma=90.0)


def a_shell(name: ShellName = "overall", start: int = 100, **given: Any) -> Shell:
    """Return a shell whose numbers are start+0.25, start+1.25 ...; the two counts are whole."""
    numbers = {
        field: start + place + (0 if field in COUNTS else 0.25)
        for place, field in enumerate(SHELL_FIELDS)
    }
    return Shell(**({"name": name} | numbers | given))


def an_integration(first: int = 1, last: int = 400, **given: Any) -> Integration:
    """Return a sweep of `a_collection()` with its refined geometry."""
    usual = {
        "image_directory": A_DIRECTORY,
        "file_template": "thau_1_2_####.cbf",
        "start_image": first,
        "end_image": last,
        "cell": a_cell(78.2),
        "detector_distance": 150.5,
        "beam_x": 89.0625,
        "beam_y": 84.6875,
    }
    return Integration(**(usual | given))


def a_solution(*integrations: Integration, **given: Any) -> Solution:
    """Return what xia2 found, of these sweeps (of one, unless given)."""
    shells = [a_shell(name, 100 * place) for place, name in enumerate(SHELL_NAMES, start=1)]
    usual = {
        "space_group": "P 43 21 2",
        "cell": a_cell(),
        "shells": cast("tuple[Shell, Shell, Shell]", tuple(shells)),
        "integrations": integrations or (an_integration(),),
        "messages": (Message(severity=Severity.WARNING, message="The completeness is 82.06%."),),
    }
    return Solution(**(usual | given))
