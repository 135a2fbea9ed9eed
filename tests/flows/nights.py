"""Nights over the isolates of a test, in this process, and what they leave in the tables."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import inspect

from tests.fakes.entero import Look
from tests.fakes.programs import script
from tests.flows.isolates import Isolates
from tests.flows.strains import Bench
from tests.flows.test_type_generic import a_pipeline

REHEARSED = "rehearsal_1"


def rehearsed(isolates: Isolates, name: str = REHEARSED, **param: Any) -> str:
    """Make a scheme that calls nothing, at no cost; return its machine name."""
    return isolates.generic(name, **({"pipeline": "rehearsal"} | param))


def update(isolates: Isolates, *schemes: str, **options: Any) -> Any:
    """Let a night go over the isolates, for one scheme or for all that are automatic."""
    from flows.update_all_schemes import update_all_schemes  # noqa: PLC0415 - loads Prefect
    from flows.update_scheme import update_scheme  # noqa: PLC0415

    flow: Any = update_scheme if schemes else update_all_schemes
    return asyncio.run(flow(*schemes, **(_blocks(isolates) | _fan_out(options))))


def update_assemblies(isolates: Isolates, **options: Any) -> Any:
    """Let a night assemble what has no assembly."""
    from flows import update_assemblies as module  # noqa: PLC0415 - loads Prefect

    flow: Any = module.update_assemblies
    names = {"database": isolates.name, "toolchain": isolates.name}
    return asyncio.run(flow(**(names | _fan_out(options))))


def _blocks(isolates: Isolates) -> dict[str, str]:
    return {"database": isolates.name, "toolchain": "PATH"}


def _fan_out(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return options of a flow; those of its fan-out are given beside the others.

    One batch at a time unless a test says more: Prefect's SQLite is slow with many.
    """
    from tasks.fan_out import FanOut  # noqa: PLC0415 - loads Prefect

    own = {name: value for name, value in options.items() if name in FanOut.model_fields}
    rest = {name: value for name, value in options.items() if name not in own}
    return rest | {"fan_out": FanOut.model_validate({"concurrency": 1} | own)}


def counts(report: Any, scheme: str = "") -> Any:
    """Return a report's counts of one scheme; those of its only one unless it is named."""
    found = [one for part in report.parts for one in part.counts]
    [one] = [one for one in found if one.scheme == scheme] if scheme else found
    return one


def listed(report: Any) -> list[tuple[str, str]]:
    """Return what a dry run would claim, in its order."""
    return [tuple(one) for part in report.parts for one in part.listed]


def claimed(isolates: Isolates) -> list[tuple[str, str]]:
    """Return barcode and scheme of all calls, in the order in which they got their jobs."""
    rows = isolates.look.rows(
        "SELECT a.barcode, s.description FROM scheme_calls c JOIN assemblies a ON"
        " a.id = c.assembly_id JOIN schemes s ON s.id = c.scheme_id ORDER BY c.job_id"
    )
    return [(row.barcode, row.description) for row in rows]


def dump(look: Look) -> dict[str, list[Any]]:
    """Return every row of every table."""
    names = inspect(look.engine).get_table_names()
    return {name: sorted(look.rows(f"SELECT * FROM {name}"), key=repr) for name in names}


def runs_of(flow: str, database: str) -> list[Any]:
    """Return the flow runs of a flow on a database, oldest first."""
    return asyncio.run(_runs_of(flow, database))


async def _runs_of(flow: str, database: str) -> list[Any]:
    from prefect import get_client  # noqa: PLC0415
    from prefect.client.schemas.filters import FlowFilter, FlowFilterName  # noqa: PLC0415

    async with get_client() as client:
        wanted = FlowFilter(name=FlowFilterName(any_=[flow]))
        found = await client.read_flow_runs(flow_filter=wanted)
    mine = [
        run
        for run in found
        if database in (run.parameters.get("entero"), run.parameters.get("database"))
    ]
    return sorted(mine, key=lambda run: run.created)


def nothing_is_open(look: Look) -> bool:
    """Whether no call, no job, no reads and no night are left open."""
    tables = ("scheme_calls", "assembly_lookup", "user_jobs", "assembly_calls")
    left = [look.count(name, status=one) for name in tables for one in ("QUEUED", "RUNNING")]
    nights = look.value("SELECT COUNT(*) FROM nights WHERE ended IS NULL")
    return not any(left) and not nights


# Programs that do as a genome's name says

FINDS = """#!/bin/sh
[ "$1" = -v ] && echo "finder {version}" && exit 0
name=$(head -n 1 assembly.fasta | cut -c 2-)
echo "$name" >> {root}/called
case "$name" in
  bad*) echo "finder: this is no genome" >&2; exit 3;;
  killed*) kill -9 $$;;
  slow*) sleep 1000;;
esac
echo '{{"type": "'"$name"'"}}'
"""


def finding(isolates: Isolates, version: str = "1.0") -> dict[str, str]:
    """Make the scheme Finding, whose program does what an assembly's name says; return options."""
    toolchain = isolates.toolchain()
    a_pipeline(isolates, "Finding", files={})
    script(isolates.programs / "finder", FINDS.format(version=version, root=isolates.root))
    isolates.generic("Finding", "ST", pipeline="Finding")
    return {"toolchain": toolchain}


def named(isolates: Isolates, name: str) -> str:
    """Register a small genome of this name; return its barcode."""
    path = isolates.root / f"{name}.fasta"
    path.write_text(f">{name}\n{'ACGT' * 100}\n")
    return isolates.register(path)


def called(isolates: Isolates) -> list[str]:
    """Return the names that the program was run on, in order."""
    log = isolates.root / "called"
    return log.read_text().split() if log.exists() else []


# Strains that wait for an assembly


def strain_with(
    isolates: Isolates,
    accession: str,
    *,
    files: Sequence[str] = (),
    platform: str = "ILLUMINA",
    library: str = "PAIRED",
    strain: str = "",
) -> int:
    """Add a strain with the row of its reads, as the site does; return its id."""
    look, name = isolates.look, strain or f"strain of {accession}"
    look.change("INSERT INTO strains (strain) VALUES (:name)", name=name)
    number = look.value("SELECT max(id) FROM strains")
    look.change(
        "INSERT INTO traces (strain_id, accession, seq_platform, seq_library, read_location)"
        " VALUES (:number, :accession, :platform, :library, :files)",
        number=number, accession=accession, platform=platform, library=library,
        files=",".join(files) or None,
    )  # fmt: skip
    return int(number)


def uploaded(bench: Bench, trace: str = "TR1", **options: Any) -> str:
    """Upload the reads of a strain that waits; return what `user_jobs.accession` calls them."""
    reads = bench.upload(trace, **options)
    strain_with(bench.isolates, trace, files=[str(bench.uploads / f) for f in reads.split("#")[1:]])
    return reads
