"""Whether a job's sweeps can be processed, before anything is computed."""

import re
from collections.abc import Callable, Sequence
from pathlib import Path

from blocks.errors import FileNotYetVisible, InconsistentInput
from blocks.mx.images import sweep_of
from blocks.mx.records import Message, ProcessingJob, Severity, Solution, Sweep

SHOWN_PATHS = 3
IMAGE_PARAMETERS = ("xia2.settings.input.image", "xia2.settings.input.xinfo")
HIDDEN_ASSIGNMENT = re.compile(r";\s*[\w.]+\s*[={]|[{}]")


def check_sweeps(job: ProcessingJob) -> None:
    """Require that ranges make sense and that all data are of one proposal.

    Raises:
        InconsistentInput: the first sweep that is wrong, by row, template and range.
    """
    if not job.sweeps:
        msg = f"processing job {job.id} has no image sweeps; nothing else is processed instead"
        raise InconsistentInput(msg)
    for sweep in job.sweeps:
        problem = range_problem(sweep)
        if problem:
            raise InconsistentInput(f"{sweep}: {problem}")
    _check_proposals(job)
    _check_parameters(job)


def _check_parameters(job: ProcessingJob) -> None:
    """Refuse what would name images past the checks above.

    PHIL matches a key with any part of a parameter's path, and begins a new assignment after `;`.
    """
    for key, value in job.parameter_values().items():
        asked = key.strip().lower()
        if any(asked in path for path in IMAGE_PARAMETERS):
            msg = f"parameter {key!r} names images: give them as a sweep, where they are checked"
            raise InconsistentInput(msg)
        if any(character in key for character in "=;{}#") or HIDDEN_ASSIGNMENT.search(value):
            msg = f"parameter {key!r} hides another assignment: {value!r}"
            raise InconsistentInput(msg)


def range_problem(sweep: Sweep) -> str:
    """Return what is wrong with a sweep's range, or an empty text."""
    first, last = sweep.collection.start_image, sweep.collection.last_image
    if sweep.start_image > sweep.end_image:
        return "the range is reversed"
    if sweep.start_image < first or sweep.end_image > last:
        return f"the data collection has images {first}-{last}"
    return ""


def _check_proposals(job: ProcessingJob) -> None:
    """Compare with the job's proposal, or where that is unknown with the first that is known."""
    home = job.collection.proposal
    for sweep in job.sweeps:
        of = sweep.collection.proposal
        home = home or of
        if of and of != home:
            msg = f"{sweep}: data of proposal {of}, but the job is of proposal {home}"
            raise InconsistentInput(msg)


def left_out(job: ProcessingJob, solution: Solution) -> list[Message]:
    """Return a warning for each sweep that the engine dropped; xia2 does so without a word."""
    used = [sweep_of(integration, job.sweeps) for integration in solution.integrations]
    return [
        Message(severity=Severity.WARNING, message=f"{sweep} was left out by the program")
        for sweep in job.sweeps
        if sweep not in used
    ]


def check_images(job: ProcessingJob, missing_images: Callable[[Sweep], Sequence[str]]) -> None:
    """Require that every image of every sweep is on this disk.

    Raises:
        FileNotYetVisible: some are not; a network file system may still show them.
        InconsistentInput: the directory cannot be read.
    """
    for sweep in job.sweeps:
        try:
            missing = list(missing_images(sweep))
        except OSError as error:
            msg = f"{sweep}: the images cannot be looked at: {error}"
            raise InconsistentInput(msg) from error
        if missing:
            shown = ", ".join(Path(path).name for path in missing[:SHOWN_PATHS])
            more = f" and {len(missing) - SHOWN_PATHS} more" if len(missing) > SHOWN_PATHS else ""
            place = Path(missing[0]).parent
            msg = f"{sweep}: {len(missing)} images missing in {place}: {shown}{more}"
            raise FileNotYetVisible(msg)
