"""A whole night's machinery in processes of its own: PostgreSQL, Prefect, workers, nights.

All of it can be killed with `kill -9`, and started again.
"""

import asyncio
import json
import os
import stat
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from pydantic import SecretStr
from sqlalchemy import NullPool, create_engine

from blocks.genomics.records import SchemeParam
from blocks.genomics.schema import migrate
from blocks.genomics.store import EnteroStore, open_store
from deployments.embedded import make_home
from tests.fakes.entero import Look
from tests.fakes.stack import Stack
from tests.postgres.server import PostgresServer

SLOW, REHEARSAL = "Slow", "rehearsal_1"
PROGRAM = """#!/bin/sh
# Says that it was run on an assembly, takes a while, and finds nothing much.
[ "$1" = --version ] && echo "slow 1.0" && exit 0
name=$(head -n 1 assembly.fasta | cut -c 2-)
echo "$name" >> {log}
sleep {seconds}
echo '{{"seen": "'"$name"'"}}'
"""


@dataclass(kw_only=True)
class NightStack(Stack):
    """A species database in PostgreSQL, a Prefect server, and what runs on them."""

    url: str

    @property
    def store(self) -> EnteroStore:
        """The database's store."""
        return open_store(self.url, database="nights", prefix="SAL")

    @property
    def look(self) -> Look:
        """A look at its rows past the store."""
        return Look(create_engine(self.url, poolclass=NullPool))

    @property
    def log(self) -> Path:
        """Where the slow program says what it was run on, a line for each time."""
        return self.home.folder / "slow.log"

    def pool_process_of(self, night: subprocess.Popen[bytes]) -> int:
        """Return a process of a night's own pool."""
        for entry in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                if parent == night.pid and b"spawn_main" in (entry / "cmdline").read_bytes():
                    return int(entry.name)
        msg = "the night has no pool of processes"
        raise AssertionError(msg)

    # What there is

    def save_blocks(self) -> None:
        """Save the database and the programs under the names `entero` and `genomics`."""
        from prefect.settings import PREFECT_API_URL, temporary_settings  # noqa: PLC0415

        from blocks.connections import EnteroBase, Toolchain  # noqa: PLC0415 - loads Prefect

        lims = EnteroBase(
            url=SecretStr(self.url),
            database="nights",
            prefix="SAL",
            genus="Salmonella",
            share=str(self.home.folder / "share"),
        )
        programs = Toolchain(
            directory=str(self.home.folder / "bin"),
            pipelines_directory=str(self.home.folder / "pipelines"),
            environment={"PATH": os.environ["PATH"]},
        )

        async def save() -> None:
            await lims.asave("entero", overwrite=True)
            await programs.asave("genomics", overwrite=True)

        with temporary_settings({PREFECT_API_URL: self.home.api_url}):
            asyncio.run(save())

    def slow_scheme(self, *, seconds: float) -> None:
        """Make a scheme whose program takes so long, and says what it was run on."""
        folder = self.home.folder
        (folder / "bin").mkdir(exist_ok=True)
        (folder / "pipelines").mkdir(exist_ok=True)
        program = folder / "bin" / "slow"
        program.write_text(PROGRAM.format(log=self.log, seconds=seconds))
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
        pipeline = {
            "about": "Takes a while.",
            "program": "slow",
            "arguments": ["{fasta}"],
            "output": "stdout",
            "reader": "json",
            "version": {"arguments": ["--version"], "pattern": "slow (.+)"},
            "time_limit_s": 600,
            "fields": {"seen": "seen"},
        }
        (folder / "pipelines" / f"{SLOW}.json").write_text(json.dumps(pipeline))
        self.store.schemes.save_scheme(
            SLOW, name=SLOW, param=SchemeParam(pipeline=SLOW), columns=[]
        )

    def rehearsal(self) -> None:
        """Make a scheme that calls nothing."""
        param = SchemeParam(pipeline="rehearsal")
        self.store.schemes.save_scheme(REHEARSAL, name=REHEARSAL, param=param, columns=[])

    def genomes(self, number: int) -> list[str]:
        """Register so many small genomes, each of a strain of its own; return their barcodes."""
        folder, barcodes = self.home.folder / "genomes", list[str]()
        folder.mkdir(exist_ok=True)
        for one in range(number):
            path = folder / f"genome_{one}.fasta"
            path.write_text(f">genome_{one}\n" + "ACGT" * 100 + "\n")
            barcodes.append(self.store.isolates.add_genome(path, strain=f"strain {one}").barcode)
        return barcodes

    # What came of it

    def outcomes(self) -> dict[str, int]:
        """Return how many pairs have each status."""
        query = "SELECT status, count(*) AS n FROM scheme_calls GROUP BY status"
        return {row.status: row.n for row in self.look.rows(query)}

    def called(self) -> list[str]:
        """Return what the slow program was run on, in order."""
        return self.log.read_text().split() if self.log.exists() else []


@contextmanager
def night_stack(folder: Path, postgres: PostgresServer, name: str) -> Iterator[NightStack]:
    """Make an empty species database and a Prefect server; end all processes with the block."""
    url = postgres.create_database(name)
    migrate(url)
    stack = NightStack(home=make_home(folder), url=url)
    try:
        stack.start_server()
        yield stack
    finally:
        for process in list(stack.processes):
            stack.kill(process)
