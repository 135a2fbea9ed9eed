"""The Prefect blocks: where databases are, and where programs are and what they may use."""

import os
import re
from pathlib import Path
from typing import ClassVar, TypeVar

from prefect.blocks.core import Block
from pydantic import Field, SecretStr, field_validator, model_validator

from blocks.broker import kind_of
from blocks.database import refuse_secret
from blocks.errors import InvalidRequest
from blocks.genomics.archive import ReadArchive
from blocks.genomics.store import EnteroStore
from blocks.genomics.store import open_store as open_entero
from blocks.mx.store import IspybStore, open_store
from blocks.program import Program, environment

BlockT = TypeVar("BlockT", bound=Block)
BLOCK_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")

# Of a flow's parameter that names a database: Prefect shows parameters, and a URL with a user or
# a query may hold a password.
PLAIN_NAME = r"^[^@?]+$"


async def _named(kind: type[BlockT], name: str) -> BlockT:
    """Return the saved block of this name.

    `Block.load` is typed as a value or a coroutine, which no checker accepts; this is the one
    place that deals with it.
    """
    msg = f"there is no {kind.get_block_type_slug()} block named {name!r}: run 'limsflow deploy'"
    if not BLOCK_NAME.fullmatch(name):  # Prefect would put it into an address
        raise InvalidRequest(msg)
    try:
        return await kind.aload(name)
    except ValueError as error:
        raise InvalidRequest(msg) from error


async def _named_or_url(kind: type[BlockT], name: str) -> BlockT:
    """Return the saved block of this name, or for a URL without a password its database."""
    if "://" not in name:
        return await _named(kind, name)
    refuse_secret(name)
    return kind.model_validate({"url": SecretStr(name)})


class IspybDatabase(Block):
    """An ISPyB and the conventions of the disks that its data lie on."""

    _block_type_name: ClassVar[str | None] = "ISPyB database"
    _block_type_slug: ClassVar[str | None] = "ispyb-database"
    _description: ClassVar[str | None] = (
        "Where processing jobs are read from and results are written to."
    )

    url: SecretStr = Field(
        description="SQLAlchemy URL of the reading role, or of a database that is ours"
    )
    processing_url: SecretStr | None = Field(
        default=None,
        description="URL of the role that may execute the stored procedures; without it, rows "
        "are written directly",
    )
    data_collections_are_ours: bool = Field(
        default=False,
        description="whether a job may describe data collections that do not exist yet; at a "
        "facility the beamline makes them",
    )
    visit_depth: int = Field(
        default=6,
        ge=1,
        le=30,
        description="how many parts of an image path are the visit, the root counted: "
        "/dls/i03/data/2018/cm19644-1 has 6",
    )
    working_folder: str = Field(
        default="tmp/zocalo", description="the visit's folder for work in progress"
    )
    results_folder: str = Field(default="processed", description="the visit's folder for results")

    @field_validator("working_folder", "results_folder")
    @classmethod
    def _stays_in_visit(cls, folder: str) -> str:
        if Path(folder).is_absolute() or ".." in Path(folder).parts:
            msg = "must be a path inside the visit"
            raise ValueError(msg)
        return folder

    def store(self) -> IspybStore:
        """Return the store of this database."""
        writer = self.processing_url.get_secret_value() if self.processing_url else None
        return open_store(
            self.url.get_secret_value(), processing_url=writer, ours=self.data_collections_are_ours
        )

    @classmethod
    async def named(cls, name: str) -> "IspybDatabase":
        """Return the saved block of this name, or for a URL without a password its database.

        Raises:
            InvalidRequest: there is none, or the URL would show a password in the run's page.
        """
        return await _named_or_url(cls, name)


class EnteroBase(Block):
    """One species database of an EnteroBase, and the disk that its results lie on."""

    _block_type_name: ClassVar[str | None] = "EnteroBase"
    _block_type_slug: ClassVar[str | None] = "enterobase"
    _description: ClassVar[str | None] = (
        "Where strains, assemblies and schemes are, and where their files go."
    )

    url: SecretStr = Field(description="SQLAlchemy URL of the species database")
    system_url: SecretStr | None = Field(
        default=None, description="URL of the database with user_jobs; empty: the same one"
    )
    database: str = Field(
        default="senterica", min_length=1, description="what user_jobs.database calls it"
    )
    prefix: str = Field(
        default="SAL",
        pattern="^[A-Z]{3}$",
        description="three letters that its barcodes begin with",
    )
    genus: str = Field(
        default="Salmonella", min_length=1, description="whose limits an assembly is judged by"
    )
    limits_file: str | None = Field(
        default=None, description="JSON of the site's own quality limits; empty: EnteroBase's"
    )
    share: str = Field(
        default="share_space", description="folder of assemblies and results, by job number"
    )
    uploads: str = Field(default="uploads", description="folder of the reads that users uploaded")
    archive: ReadArchive = Field(
        default_factory=ReadArchive, description="where public reads are fetched from"
    )

    @property
    def limits(self) -> Path | None:
        """The site's own quality limits, if it has any."""
        return Path(self.limits_file) if self.limits_file else None

    def store(self) -> EnteroStore:
        """Return the store of this database."""
        system = self.system_url.get_secret_value() if self.system_url else None
        return open_entero(
            self.url.get_secret_value(),
            database=self.database,
            prefix=self.prefix,
            system_url=system,
        )

    @classmethod
    async def named(cls, name: str) -> "EnteroBase":
        """Return the saved block of this name, or for a URL without a password its database.

        Raises:
            InvalidRequest: there is none, or the URL would show a password in the run's page.
        """
        return await _named_or_url(cls, name)


class MessageBroker(Block):
    """A message broker, and which of its messages are ours."""

    _block_type_name: ClassVar[str | None] = "Message broker"
    _block_type_slug: ClassVar[str | None] = "message-broker"
    _description: ClassVar[str | None] = (
        "Where a LIMS sends its wishes: RabbitMQ, ActiveMQ, or another STOMP broker."
    )

    url: SecretStr = Field(
        description="amqp://user:password@host:5672/vhost or stomp://user:password@host:61613"
    )
    queues: list[str] = Field(
        default=["limsflow.reprocess"],
        min_length=1,
        description="queues that we consume: bare messages and a recipe's steps alike; over STOMP, "
        "a queue that RabbitMQ has as a quorum queue is /amq/queue/NAME",
    )
    forward_to: str = Field(
        default="",
        description="queue that gets everything that is not ours, untouched: processing_recipe, "
        "where zocalo's dispatcher listens; empty: it is buried",
    )
    recipes: list[str] = Field(
        default_factory=list[str],
        description="recipes of jobs that are ours; empty: every recipe that we have",
    )
    ispyb: str = Field(default="ispyb", description="ISPyB block that the jobs are in")
    toolchain: str = Field(default="mx", description="toolchain block that they run with")
    wait_for_job_s: float = Field(
        default=60.0, ge=0, le=600, description="how long a message may be earlier than its job"
    )
    start_lost_after_s: float = Field(
        default=600.0,
        ge=0,
        description="a job that nobody started for so long had its message lost: the reconciler "
        "starts it; 0: never",
    )
    lost_for_days: float = Field(
        default=7.0, gt=0, le=365, description="an older job is left alone, as nobody waits for it"
    )

    @field_validator("url")
    @classmethod
    def _is_a_broker(cls, url: SecretStr) -> SecretStr:
        try:
            kind_of(url.get_secret_value())
        except InvalidRequest as error:
            raise ValueError(str(error)) from error
        return url

    @model_validator(mode="after")
    def _goes_on(self) -> "MessageBroker":
        if self.forward_to.rpartition("/")[2] in {one.rpartition("/")[2] for one in self.queues}:
            msg = f"forward_to is {self.forward_to}, which we consume: messages would go round"
            raise ValueError(msg)
        return self

    def dead_letters_of(self, queue: str) -> str:
        """Return where the messages of a queue go that nobody can use, as zocalo calls it."""
        folder, slash, name = queue.rpartition("/")
        return f"{folder}{slash}dlq.{name}"

    @classmethod
    async def named(cls, name: str) -> "MessageBroker":
        """Return the saved block of this name.

        Raises:
            InvalidRequest: there is none.
        """
        return await _named(cls, name)


class Toolchain(Block):
    """External programs: where they are, their environment, what they may use."""

    _block_type_name: ClassVar[str | None] = "Toolchain"
    _block_type_slug: ClassVar[str | None] = "toolchain"
    _description: ClassVar[str | None] = (
        "What `module load` gives on a facility: programs and their environment."
    )

    directory: str | None = Field(
        default=None, description="searched for programs before the PATH; empty: the PATH only"
    )
    environment: dict[str, str] = Field(
        default_factory=dict, description="variables that every program gets, e.g. CCP4, CCP4_SCR"
    )
    n_processes: int = Field(
        default_factory=lambda: os.cpu_count() or 1,
        ge=1,
        le=1024,
        description="processes that one program may start",
    )
    time_limit_s: float = Field(
        default=6 * 3600, gt=0, description="wall time of one engine, in seconds"
    )
    recipes_directory: str | None = Field(
        default=None, description="the facility's own recipe files, searched before ours"
    )
    pipelines_directory: str | None = Field(
        default=None, description="the site's own files of generic schemes, searched before ours"
    )
    kraken_database: str | None = Field(
        default=None, description="folder of a Kraken 2 database; empty: species are not looked at"
    )
    memory_gb: int = Field(default=8, ge=1, le=4096, description="memory of one assembly, in GB")

    note: str = Field(
        default="",
        max_length=200,
        description="said with every result, e.g. that these programs are only replayed",
    )

    def program(self, name: str) -> Program:
        """Return where a program is and what it may see."""
        return Program(
            name=name,
            directory=Path(self.directory) if self.directory else None,
            environment=environment(self.environment),
        )

    @property
    def recipes(self) -> Path | None:
        """The facility's own recipes, if it has any."""
        return Path(self.recipes_directory) if self.recipes_directory else None

    @property
    def pipelines(self) -> Path | None:
        """The site's own pipelines of generic schemes, if it has any."""
        return Path(self.pipelines_directory) if self.pipelines_directory else None

    @classmethod
    async def named(cls, name: str) -> "Toolchain":
        """Return the saved block of this name; `PATH` is the programs on the PATH.

        Raises:
            InvalidRequest: there is none.
        """
        return cls() if name == "PATH" else await _named(cls, name)
