"""What a crystallographer talks about, and what ISPyB calls it.

    ours                     ISPyB
    ProcessingJob            ProcessingJob + its sweeps and parameters
    Sweep                    ProcessingJobImageSweep joined with its DataCollection
    DataCollection           DataCollection (+ Proposal by way of its session)
    Attempt                  AutoProcProgram: one try at a job
    Shell                    AutoProcScalingStatistics: overall, innerShell, outerShell
    Integration              AutoProcIntegration: one sweep, integrated
    Solution                 AutoProc + AutoProcScaling + the two above
    Attachment               AutoProcProgramAttachment
    Message                  AutoProcProgramMessage

Image ranges are inclusive at both ends. Fractions (CC half, R values) are 0-1; completeness is in
per cent because ISPyB stores it so. Times are aware UTC; the store writes what ISPyB expects.
"""

import math
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, field_validator, model_validator

from blocks.record import Angstrom, Degrees, Record, RowId

MAX_IMAGE_NUMBER = 16_777_215  # ISPyB stores image numbers as mediumint unsigned
ImageNumber = Annotated[int, Field(ge=0, le=MAX_IMAGE_NUMBER, description="image number")]


def printable(text: str) -> str:
    """Return a text that can be part of a path or of a command line.

    Raises:
        ValueError: it holds a control character, such as NUL or a line break.
    """
    if not text.isprintable():
        msg = "must not hold unprintable characters"
        raise ValueError(msg)
    return text


class DataCollection(Record):
    """One continuous measurement: where its images are and which numbers they have."""

    id: RowId
    image_directory: Annotated[
        str, Field(max_length=255, description="absolute directory of the images, inside a visit")
    ]
    file_template: Annotated[
        str, Field(max_length=255, description="image file name; a run of # is the number")
    ]
    start_image: ImageNumber
    n_images: Annotated[int, Field(ge=1, le=MAX_IMAGE_NUMBER, description="how many images")]
    image_prefix: Annotated[
        str, Field(max_length=45, description="name of the measurement, for its directories")
    ] = ""
    number: Annotated[int, Field(ge=0, description="dataCollectionNumber")] = 1
    proposal: str = Field(default="", description="e.g. cm19644; empty when unknown")

    @property
    def last_image(self) -> int:
        """The number of the last image."""
        return self.start_image + self.n_images - 1

    @field_validator("image_directory", "file_template", "image_prefix")
    @classmethod
    def _is_printable(cls, text: str) -> str:
        return printable(text)

    @field_validator("image_directory", "file_template")
    @classmethod
    def _is_not_blank(cls, text: str) -> str:
        if not text.strip():
            msg = "must not be empty"
            raise ValueError(msg)
        return text

    @field_validator("file_template")
    @classmethod
    def _is_a_name(cls, name: str) -> str:
        if "/" in name or name in (".", ".."):
            msg = "must be a file name without a directory"
            raise ValueError(msg)
        return name


class Sweep(Record):
    """A range of images of one data collection that a job uses."""

    id: RowId
    collection: DataCollection
    start_image: int
    end_image: int

    def __str__(self) -> str:
        """Name the sweep as a person finds it: row, template and range."""
        images = f"{self.start_image}-{self.end_image}"
        return f"sweep {self.id} ({self.collection.file_template} {images})"


class Parameter(Record):
    """One key and value of a job; a key may repeat, then the last one counts."""

    key: Annotated[
        str,
        Field(min_length=1, max_length=80, description="d_min, spacegroup, or a full PHIL path"),
        AfterValidator(printable),
    ]
    value: Annotated[
        str,
        Field(max_length=1024, description="one argument, passed as it is"),
        AfterValidator(printable),
    ]


class ProcessingJob(Record):
    """What a user asked to be processed."""

    id: RowId
    recipe: str
    collection: DataCollection = Field(description="the primary data collection")
    sweeps: tuple[Sweep, ...]
    parameters: tuple[Parameter, ...] = ()
    display_name: str = ""
    automatic: bool = False

    def parameter_values(self) -> dict[str, str]:
        """Return key to value; of a repeated key the last value, at its first place."""
        return {parameter.key: parameter.value for parameter in self.parameters}


class JobHeader(Record):
    """As much of a job as can be read whatever its sweeps are like: enough to show a failure."""

    id: RowId
    recipe: str
    collection_id: int | None
    parameters: tuple[str, ...] = Field(default=(), description="key=value, as they are")
    age: timedelta | None = Field(
        default=None, description="since it was submitted, by the database's own clock"
    )


class SweepRequest(Record):
    """Which images of which data collection to use, both ends included."""

    data_collection_id: RowId
    start_image: ImageNumber
    end_image: ImageNumber

    @model_validator(mode="after")
    def _is_not_reversed(self) -> "SweepRequest":
        if self.end_image < self.start_image:
            msg = f"the range {self.start_image}-{self.end_image} is reversed"
            raise ValueError(msg)
        return self


class JobRequest(Record):
    """A job to be created: recipe, sweeps, parameters."""

    recipe: str = Field(
        default="xia2-dials",
        max_length=50,
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$",
        description="which engine with which fixed parameters: xia2-dials, xia2-3dii, dials",
    )
    sweeps: tuple[SweepRequest, ...] = Field(
        min_length=1, max_length=1000, description="in the order of the command line"
    )
    parameters: tuple[Parameter, ...] = Field(
        default=(), max_length=200, description="d_min, spacegroup, unit_cell ..."
    )
    data_collections: tuple[DataCollection, ...] = Field(
        default=(),
        description="made where the database is ours and they are missing; on a facility's "
        "ISPyB they must exist",
    )
    display_name: str = Field(default="", max_length=80, description="shown instead of the number")
    comments: str = Field(default="", max_length=255, description="for whoever reads the job")


class AttemptState(StrEnum):
    """What ISPyB's `processingStatus` says of one attempt."""

    RUNNING = "running"
    SUCCEEDED = "success"
    FAILED = "failure"


class Attempt(Record):
    """One try at a job, as ISPyB shows it."""

    id: RowId
    job_id: RowId | None
    state: AttemptState
    program: str
    command_line: str
    message: str
    environment: str
    recorded_at: datetime | None = None
    started_at: datetime | None
    updated_at: datetime | None

    def environment_value(self, key: str) -> str:
        """Return what the environment text says of a key, or an empty text."""
        pairs = (pair.partition("=") for pair in self.environment.split(", "))
        return next((value for name, _, value in pairs if name == key), "")

    @property
    def guid(self) -> str:
        """The attempt's own id, which names its directories."""
        return self.environment_value("guid")

    @property
    def seen_at(self) -> datetime | None:
        """When it gave its last sign of life; None: never."""
        return self.updated_at or self.started_at or self.recorded_at

    @property
    def flow_run_id(self) -> str:
        """The Prefect flow run that works on this attempt; empty if it is not ours."""
        return self.environment_value("flow_run")


class UnitCell(Record):
    """Edges in Å, angles in degrees."""

    a: Angstrom
    b: Angstrom
    c: Angstrom
    alpha: Degrees
    beta: Degrees
    gamma: Degrees

    def __str__(self) -> str:
        """Return the six numbers as crystallographers print them."""
        edges = " ".join(f"{edge:.2f}" for edge in (self.a, self.b, self.c))
        return f"{edges} {self.alpha:.1f} {self.beta:.1f} {self.gamma:.1f}"


ShellName = Literal["overall", "innerShell", "outerShell"]


class Shell(Record):
    """Merging statistics of one resolution shell, as the program gave them.

    `None` is "the program did not say", and so is a number that it could not calculate (NaN).
    R values of weak data may be negative.
    """

    name: ShellName
    d_max: float | None = None
    d_min: float | None = None
    completeness: float | None = Field(default=None, description="per cent")
    multiplicity: float | None = None
    i_over_sigma: float | None = None
    cc_half: float | None = None
    r_merge: float | None = Field(default=None, description="within I+/I-")
    r_meas_all: float | None = None
    r_meas_within: float | None = None
    r_pim_all: float | None = None
    r_pim_within: float | None = None
    partial_bias: float | None = None
    n_observations: int | None = None
    n_unique: int | None = None
    anomalous_completeness: float | None = Field(default=None, description="per cent")
    anomalous_multiplicity: float | None = None
    cc_anomalous: float | None = None
    d_min_i_over_sigma_2: float | None = Field(default=None, description="Å; overall shell only")

    @field_validator("*", mode="before")
    @classmethod
    def _is_said(cls, value: object) -> object:
        return None if isinstance(value, float) and not math.isfinite(value) else value


class Integration(Record):
    """One sweep, integrated: its refined cell and geometry (mm)."""

    image_directory: str
    file_template: str = Field(description="with # for the number, as in the data collection")
    start_image: int
    end_image: int
    cell: UnitCell | None = None
    detector_distance: float | None = None
    beam_x: float | None = None
    beam_y: float | None = None


class Severity(StrEnum):
    """How much a message matters."""

    INFO = "INFO"
    WARNING = "WARNING"
    ERROR = "ERROR"


class Message(Record):
    """Something that a program says of the data or of itself."""

    severity: Severity
    message: str
    description: str = ""


class Solution(Record):
    """What one processing run found."""

    space_group: str
    cell: UnitCell
    shells: tuple[Shell, Shell, Shell] = Field(description="overall, inner, outer")
    integrations: tuple[Integration, ...]
    messages: tuple[Message, ...] = ()

    @property
    def overall(self) -> Shell:
        """The statistics over all resolutions."""
        return self.shells[0]


class AttachmentType(StrEnum):
    """How SynchWeb shows a file."""

    LOG = "Log"
    RESULT = "Result"
    GRAPH = "Graph"


class Attachment(Record):
    """A file that belongs to an attempt; rank 1 is the most important."""

    path: Path
    type: AttachmentType
    rank: Annotated[int, Field(ge=0, le=255)]


class Directories(Record):
    """Where one attempt works and where its results are kept."""

    working: Path
    results: Path


class Picture(Record):
    """Something to look at: a data URI with its title and one sentence."""

    title: str
    uri: str
    caption: str = ""


class Finished(Record):
    """What an engine left: its solution, where, and what to look at."""

    solution: Solution
    directory: Path
    pictures: tuple[Picture, ...] = ()
    repairs: tuple[str, ...] = ()
    program_wall_s: float = Field(default=0.0, description="wall time of the programs, seconds")
