"""The DIALS programs, step by step: command lines, progress, outputs, known faults.

DIALS 3.12 (Debian 12) to 3.30. Manual: https://dials.github.io/documentation
What the programs found is read in `dials_results`.
"""

import re
from collections.abc import Callable, Sequence
from pathlib import Path

from pydantic import Field

from blocks.errors import InvalidRequest, OutputInvalid, ProgramError, ProgramFailed, ProgramKilled
from blocks.faults import Fault
from blocks.mx.experiments import read_integrations
from blocks.mx.images import image_path, is_one_file
from blocks.mx.recipe import Recipe
from blocks.mx.records import ProcessingJob, Sweep
from blocks.program import Run
from blocks.record import Record

Tell = Callable[[float, str], None]


class Command(Record):
    """One program of a step; `log_name` is the stem of what it prints."""

    program: str
    arguments: tuple[str, ...]
    log_name: str


class DialsStep(Record):
    """One step of the procedure and what it must leave."""

    name: str
    title: str
    weight: float = Field(description="share of the whole in per cent, for the progress bar")
    outputs: tuple[str, ...] = Field(description="files; {n} stands for each sweep's number")


# The weights are the wall times of a recorded run of 49 images on two cores.
STEPS = (
    DialsStep(name="import", title="Import images", weight=3, outputs=("imported_{n}.expt",)),
    DialsStep(
        name="find_spots", title="Find spots", weight=7, outputs=("strong.refl", "spots.json")
    ),
    DialsStep(name="index", title="Index", weight=30, outputs=("indexed.expt", "indexed.refl")),
    DialsStep(
        name="refine", title="Refine geometry", weight=10, outputs=("refined.expt", "refined.refl")
    ),
    DialsStep(
        name="integrate",
        title="Integrate",
        weight=17,
        outputs=("integrated.expt", "integrated.refl"),
    ),
    DialsStep(
        name="symmetry",
        title="Find symmetry",
        weight=13,
        outputs=("symmetrized.expt", "symmetrized.refl"),
    ),
    DialsStep(name="scale", title="Scale", weight=10, outputs=("scaled.expt", "scaled.refl")),
    DialsStep(
        name="resolution", title="Estimate resolution", weight=3, outputs=("resolution.json",)
    ),
    DialsStep(
        name="merge",
        title="Merge and export",
        weight=7,
        outputs=("merged.mtz", "merge.json", "scaled_unmerged.mtz"),
    ),
)

# Which step's PHIL a key of SynchWeb belongs to. Everything else must be given as
# `dials.<step>.<parameter>`, because a DIALS program refuses what it does not know.
PARAMETERS = {
    "d_min": (("scale", "d_min"), ("merge", "d_min")),
    "d_max": (("scale", "d_max"), ("merge", "d_max")),
    "unit_cell": (("index", "indexing.known_symmetry.unit_cell"),),
    "spacegroup": (("index", "indexing.known_symmetry.space_group"), ("symmetry", "space_group")),
    "sigma_strong": (("find_spots", "spotfinder.threshold.dispersion.sigma_strong"),),
    "method": (("index", "indexing.method"),),
    "absorption_level": (("scale", "physical.absorption_level"),),
    "cc_half": (("resolution", "cc_half"),),
    "isigma": (("resolution", "isigma"),),
    "misigma": (("resolution", "misigma"),),
}
OWN_KEY = re.compile(r"dials\.(\w+)\.([\w.]+)")
STEP_NAMES = tuple(step.name for step in STEPS)
CC_HALF_LIMIT = "0.3"  # DIALS' own default for the limit that a CC half fit suggests
MISIGMA = "misigma"
MISIGMA_FOR_ISPYB = "2"  # AutoProcScalingStatistics.resIOverSigI2


class DialsJob(Record):
    """Everything that the command lines say."""

    sweeps: tuple[Sweep, ...]
    parameters: tuple[tuple[str, str, str], ...] = Field(
        default=(), description="step, PHIL name, value"
    )
    n_processes: int = Field(ge=1)

    def of(self, step: str) -> tuple[str, ...]:
        """Return the user's parameters of one step as arguments."""
        return tuple(f"{name}={value}" for at, name, value in self.parameters if at == step)

    def has(self, step: str, name: str) -> bool:
        """Whether the user gave this parameter of this step."""
        return any((at, key) == (step, name) for at, key, _ in self.parameters)


def dials_job(job: ProcessingJob, recipe: Recipe, *, n_processes: int) -> DialsJob:
    """Return what to run for a job: the recipe's fixed parameters, then the user's, which win.

    Raises:
        InvalidRequest: a parameter is none that this engine can pass on.
    """
    fixed = (one.partition("=") for one in recipe.fixed)
    given = [*((key, value) for key, _, value in fixed), *job.parameter_values().items()]
    parameters = [
        (step, name, value) for key, value in given for step, name in _places_of(key, value)
    ]
    return DialsJob(sweeps=job.sweeps, parameters=tuple(parameters), n_processes=n_processes)


def _require_no_file(key: str, value: str) -> None:
    """Refuse what could make a program read or write elsewhere.

    PHIL matches any part of a parameter's path, so names alone cannot be trusted.
    """
    names = key.split(".")
    if {"output", "input"} & set(names) or ("/" in value and "group" not in names[-1]):
        msg = f"parameter {key!r} names a file; inputs and outputs are not a user's to choose"
        raise InvalidRequest(msg)


def _places_of(key: str, value: str) -> Sequence[tuple[str, str]]:
    own = OWN_KEY.fullmatch(key)
    if own and own[1] in STEP_NAMES:
        _require_no_file(key, value)
        return ((own[1], own[2]),)
    if key not in PARAMETERS:
        msg = (
            f"parameter {key!r} is not known to the recipe dials; known: "
            f"{', '.join(sorted(PARAMETERS))}, and dials.<step>.<parameter> with a step of "
            f"{', '.join(STEP_NAMES)}"
        )
        raise InvalidRequest(msg)
    return PARAMETERS[key]


def commands(step: str, job: DialsJob, *, d_min: float | None = None) -> tuple[Command, ...]:
    """Return the programs of a step, in order.

    Args:
        step: Its name.
        job: What to run.
        d_min: In Å, what the step "resolution" found; used by "merge" unless the user said.
    """
    match step:
        case "import":
            return tuple(_import(job, sweep, n) for n, sweep in enumerate(job.sweeps, 1))
        case "find_spots":
            return _find_spots(job)
        case "symmetry" if job.has("symmetry", "space_group"):
            # The user knows it, and indexing used it: only write it into the experiments.
            files = ("integrated.expt", "integrated.refl", *_outputs("symmetrized"))
            return (_command("dials.reindex", *files, *job.of(step)),)
        case "resolution":
            return _resolution(job)
        case "merge":
            return _merge(job, d_min)
        case _:
            return (_plain(step, job),)


SCALED = ("scaled.expt", "scaled.refl")


def _import(job: DialsJob, sweep: Sweep, n: int) -> Command:
    """Return the import of one sweep, by the names of its images.

    With `template=` and `image_range=`, DIALS 3.12 takes the rotation angle of the template's
    first image for the first of the range: a range that begins later is then processed at the
    wrong angles, and every program but the last says success.
    """
    collection = sweep.collection
    if is_one_file(collection):
        where = [image_path(collection, sweep.start_image)]
        where.append(f"image_range={sweep.start_image},{sweep.end_image}")
    else:
        numbers = range(sweep.start_image, sweep.end_image + 1)
        where = [image_path(collection, number) for number in numbers]
    return _command(
        "dials.import",
        *where,
        *job.of("import"),
        f"output.experiments=imported_{n}.expt",
        f"output.log=dials.import_{n}.log",
        log_name=f"dials.import_{n}",
    )


def _imported(job: DialsJob) -> tuple[str, ...]:
    return tuple(f"imported_{n}.expt" for n in range(1, len(job.sweeps) + 1))


def _find_spots(job: DialsJob) -> tuple[Command, ...]:
    images = _imported(job)
    processes = f"nproc={job.n_processes}"
    find = ("output.reflections=strong.refl", processes, *job.of("find_spots"))
    return (
        _command("dials.find_spots", *images, *find),
        _command("dials.spot_counts_per_image", *images, "strong.refl", "json=spots.json"),
    )


def _plain(step: str, job: DialsJob) -> Command:
    """Return a step that reads the step before and writes the same two kinds of files."""
    inputs, made = {
        "index": ((*_imported(job), "strong.refl"), "indexed"),
        "refine": (("indexed.expt", "indexed.refl"), "refined"),
        "integrate": (("refined.expt", "refined.refl"), "integrated"),
        "symmetry": (("integrated.expt", "integrated.refl"), "symmetrized"),
        "scale": (("symmetrized.expt", "symmetrized.refl"), "scaled"),
    }[step]
    nproc = {"index": "indexing.nproc", "integrate": "nproc", "scale": "nproc"}.get(step)
    parallel = (f"{nproc}={job.n_processes}",) if nproc else ()
    return _command(f"dials.{step}", *inputs, *_outputs(made), *parallel, *job.of(step))


def _outputs(made: str) -> tuple[str, str]:
    return f"output.experiments={made}.expt", f"output.reflections={made}.refl"


def _resolution(job: DialsJob) -> tuple[Command, ...]:
    """Return two questions: where the data end by the user's criteria, and ISPyB's I/sigma of 2."""
    asked = any(job.has("resolution", name) for name in ("cc_half", "isigma", "misigma"))
    usual = () if asked else (f"cc_half={CC_HALF_LIMIT}",)
    ours = ("output.json=resolution.json", "output.log=dials.estimate_resolution.log")
    ispyb = f"dials.estimate_resolution-{MISIGMA}"
    return (
        _command("dials.estimate_resolution", *SCALED, *usual, *job.of("resolution"), *ours),
        _command(
            "dials.estimate_resolution",
            *(*SCALED, f"misigma={MISIGMA_FOR_ISPYB}", f"output.log={ispyb}.log"),
            f"output.html={ispyb}.html",
            log_name=ispyb,
        ),
    )


def _merge(job: DialsJob, d_min: float | None) -> tuple[Command, ...]:
    suggested = d_min is not None and not job.has("merge", "d_min")
    cut = (f"d_min={d_min:.2f}",) if suggested else ()
    known = ("assess_space_group=False",) if job.has("symmetry", "space_group") else ()
    merge = ("output.mtz=merged.mtz", "output.json=merge.json", *known, *cut, *job.of("merge"))
    unmerged = ("intensity=scale", "mtz.hklout=scaled_unmerged.mtz")
    return (
        _command("dials.merge", *SCALED, *merge),
        _command("dials.export", *SCALED, *unmerged),
    )


def _command(program: str, *arguments: str, log_name: str = "") -> Command:
    return Command(program=program, arguments=arguments, log_name=log_name or program)


def check_outputs(step: DialsStep, directory: Path, sweeps: Sequence[Sweep]) -> None:
    """Require that a step left what it must, and that the import took the images asked for.

    Raises:
        OutputInvalid: a file is missing or empty, or has other images.
    """
    for name in step.outputs:
        numbers = range(1, len(sweeps) + 1) if "{n}" in name else (0,)
        for path in (directory / name.replace("{n}", str(n)) for n in numbers):
            if not path.is_file() or path.stat().st_size == 0:
                msg = f"{step.title}: ended with status 0, but {path.name} is missing or empty"
                raise OutputInvalid(msg, program=f"dials.{step.name}", directory=directory)
    if step.name == "import":
        for n, sweep in enumerate(sweeps, 1):
            _check_images(directory / f"imported_{n}.expt", sweep)


def _check_images(path: Path, sweep: Sweep) -> None:
    ranges = [(found.start_image, found.end_image) for found in read_integrations(path)]
    if ranges != [(sweep.start_image, sweep.end_image)]:
        msg = f"{sweep}: dials.import made {len(ranges)} sweeps of it, with images {ranges}"
        raise OutputInvalid(msg, program="dials.import", directory=path.parent)


def check(run: Run) -> None:
    """Judge one program by its exit status, and give its own reason.

    Raises:
        ProgramKilled: a signal ended it.
        ProgramFailed: it ended with an error; the message is what it says after `Sorry:`.
    """
    name = Path(run.argv[0]).name
    if run.signal is not None:
        raise run.failure(ProgramKilled, f"{name} was killed by signal {run.signal}")
    if run.exit_status != 0 and not _is_quirk(name, run):
        raise run.failure(ProgramFailed, f"{name}: {reason(run)}")


def _is_quirk(name: str, run: Run) -> bool:
    """Whether a status is not a failure: 3.12's resolution estimator ends with 1 after success.

    Its entry point passes its plots to `sys.exit`. The step's JSON file is the evidence then.
    """
    if name != "dials.estimate_resolution" or run.exit_status != 1:
        return False
    said = run.stdout.read_text(errors="replace") + run.stderr.read_text(errors="replace")
    return "Traceback (most recent call last)" not in said and "Sorry: " not in said


def reason(run: Run) -> str:
    """Return why a DIALS program failed: its `Sorry:` line, or the end of its traceback."""
    texts = [path.read_text(errors="replace") for path in (run.stdout, run.stderr)]
    for text in texts:
        sorry = re.findall(r"^(?:Sorry|Error): (.+)$", text, re.MULTILINE)
        if sorry:
            return sorry[-1].strip()
    lines = [line.strip() for text in texts for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if re.match(r"[\w.]*(Error|Exception|Failure)\b", line)]
    return errors[-1] if errors else f"ended with status {run.exit_status} and gave no reason"


class SpotProgress:
    """How many images the spot finder has read, from what it prints.

    Args:
        n_images: Of all sweeps together.
        tell: Called with the fraction (0-1) of the step and a text.
    """

    LINE = re.compile(r"^Found \d+ strong pixels on image \d+", re.MULTILINE)

    def __init__(self, n_images: int, tell: Tell) -> None:
        self._n_images = max(1, n_images)
        self._tell = tell
        self._found = 0

    def read(self, piece: str) -> None:
        """Take the next piece of output."""
        self._found += len(self.LINE.findall(piece))
        if self._found:
            fraction = min(1.0, self._found / self._n_images)
            self._tell(fraction, f"spots found on {self._found} of {self._n_images} images")


def progress_before(step: str) -> float:
    """Return which fraction of the whole is over when this step begins."""
    done = sum(s.weight for s in STEPS[: STEP_NAMES.index(step)])
    return done / sum(s.weight for s in STEPS)


def progress_within(step: str, fraction: float) -> float:
    """Return which fraction of the whole is over at this fraction of the step."""
    weight = STEPS[STEP_NAMES.index(step)].weight
    return progress_before(step) + fraction * weight / sum(s.weight for s in STEPS)


def _with_fewer_processes(job: DialsJob) -> DialsJob | None:
    if job.n_processes == 1:
        return None
    return job.model_copy(update={"n_processes": job.n_processes // 2})


def _is_out_of_memory(error: ProgramError) -> bool:
    words = ("MemoryError", "std::bad_alloc", "Cannot allocate memory")
    killed = isinstance(error, ProgramKilled) and str(error).endswith("signal 9")
    return killed or any(word in f"{error}\n{error.log_tail}" for word in words)


OUT_OF_MEMORY = Fault[DialsJob](
    name="out of memory", marks=_is_out_of_memory, remedy=_with_fewer_processes, limit=2
)
CRASHED_WORKER = Fault[DialsJob](
    name="crashed worker process",
    marks=lambda error: (
        "BrokenProcessPool" in error.log_tail or "terminated abruptly" in error.log_tail
    ),
    remedy=lambda job: _with_fewer_processes(job) or job,
    limit=1,
)
FAULTS = (OUT_OF_MEMORY, CRASHED_WORKER)
