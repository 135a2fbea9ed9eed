"""Strains whose reads are runs of the public archive: fetched, assembled, and not kept."""

import asyncio
import bz2
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from blocks.errors import InconsistentInput, ProgramFailed
from tests.fakes.read_archive import (
    DDBJ_FOLDER,
    EXPERIMENT,
    REPORT,
    RUN,
    Answer,
    Server,
    fastq,
    pair_at_ena,
    read_archive,
    report,
)
from tests.flows.strains import Bench, make_bench, step_runs

OTHER, OTHER_EXPERIMENT = "SRR1234568", "SRX765433"


@pytest.fixture
def server() -> Iterator[Server]:
    with read_archive() as one:
        yield one


@pytest.fixture
def bench(prefect: None, empty_entero: Path, tmp_path: Path, server: Server) -> Bench:
    bench = make_bench(tmp_path, empty_entero, archive=server.archive(attempts=1))
    bench.genome()
    return bench


def test_a_run_is_fetched_and_assembled_and_its_reads_are_not_kept(
    bench: Bench, server: Server
) -> None:
    server.put_ena(*pair_at_ena())
    outcome = bench.assemble(RUN)

    assert (outcome.passed, outcome.schemes) == (True, ("mlst",))
    assert (bench.job.accession, bench.job.status) == (RUN, "COMPLETE")
    trace = bench.row("traces")
    assert (trace.accession, trace.read_location) == (RUN, None)
    assert bench.row("strains").strain == RUN
    assert list(bench.isolates.root.rglob(f"{RUN}*")) == []


def test_an_archive_that_is_away_twice_is_asked_again_until_the_job_is_complete(
    bench: Bench, server: Server
) -> None:
    files = pair_at_ena()
    server.put_ena(*files)
    away = Answer(status=503)
    server.put(REPORT, away, away, Answer(json.dumps([report(*files)]).encode()))
    outcome = bench.assemble(RUN, type_it=False)

    assert (outcome.passed, bench.job.status) == (True, "COMPLETE")
    [step] = asyncio.run(step_runs(bench, "get reads"))
    assert (step.run_count, step.state.type.value) == (3, "COMPLETED")
    assert len(server.asked_for(REPORT)) == 3


def test_reads_of_another_kind_are_refused_at_once(bench: Bench, server: Server) -> None:
    server.put_ena(*pair_at_ena(), instrument_platform="ION_TORRENT")
    with pytest.raises(InconsistentInput, match="only Illumina paired-end reads are assembled"):
        bench.assemble(RUN)

    assert (bench.job.status, bench.programs.all_starts()) == ("FAILED", [])
    assert len(server.asked_for(REPORT)) == 1
    assert "It is put aside" in bench.report


def put_other_at_ddbj(server: Server) -> None:
    folder = DDBJ_FOLDER.replace(EXPERIMENT, OTHER_EXPERIMENT)
    for mate in (1, 2):
        content = bz2.compress(fastq(mate, run=OTHER, reads=10))
        server.put(f"{folder}/{OTHER}_{mate}.fastq.bz2", Answer(content))
    address = folder.replace("/ddbj/public", "https://ddbj.nig.ac.jp/public")
    entry = {"identifier": OTHER, "downloadUrl": [{"type": "fastq", "url": address}]}
    path = f"/ddbj/search/api/entries/sra-run/{OTHER}.json"
    server.put(path, Answer(json.dumps(entry).encode()))


def test_runs_of_one_strain_are_joined_once_however_often_assembling_is_tried(
    bench: Bench, server: Server
) -> None:
    server.put_ddbj(fastq(1), fastq(2))
    put_other_at_ddbj(server)
    bench.programs.plan("spades.py", "unknown", "good")
    with pytest.raises(ProgramFailed):
        bench.assemble(f"{RUN},{OTHER}")
    asked = [one for one in server.asked if one.path.endswith(".bz2")]
    outcome = bench.assemble(f"{RUN},{OTHER}", type_it=False)

    assert outcome.passed
    assert len(asked) == 4
    assert [one for one in server.asked if one.path.endswith(".bz2")] == asked
    assert len(bench.programs.starts("fastp")) == 1
    assert "| Reads | 100 | 100 | 100.0 % |" in bench.report.replace("\\", "")
    assert bench.job.accession == f"{RUN},{OTHER}"
    look = bench.isolates.look
    assert [look.count(t) for t in ("strains", "traces", "trace_assembly")] == [1, 2, 2]
    assert bench.row("assembly_evidence").reads == f"{RUN},{OTHER}"
