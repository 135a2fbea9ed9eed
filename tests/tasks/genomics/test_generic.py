"""A generic scheme on an assembly, with small programs in the place of the real ones."""

import asyncio
import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from blocks.errors import (
    FileNotYetVisible,
    InconsistentInput,
    InvalidRequest,
    OutputInvalid,
    ProgramError,
    ProgramFailed,
    ProgramKilled,
    ProgramNotFound,
    ProgramTimedOut,
)
from blocks.genomics.pipeline import Pipeline
from blocks.genomics.records import Column
from blocks.program import Program
from tasks.genomics.generic import GenericResult, check_columns, run_pipeline

VERSION = '[ "$1" = --version ] && { echo "finder v2.1" >&2; exit 3; }\n'
ANSWER = """echo '[{"serovar": "Agona", "h": {"h1": "f,g,s"}, "none": null}]'"""
WRITE = f'{ANSWER} > "$2"'


def a_pipeline(**changes: Any) -> Pipeline:
    usual: dict[str, Any] = {
        "name": "Finding",
        "program": "finder",
        "arguments": ["{fasta}", "{output}"],
        "output": "found.json",
        "reader": "json-list",
        "version": {"arguments": ["--version"], "pattern": r"^finder v(\S+)"},
        "time_limit_s": 60,
        "fields": {"serovar": "serovar", "H1": "h.h1", "none": "none"},
    }
    return Pipeline(**usual | changes)


def an_assembly(place: Path, text: str = ">c1\nACGT\n") -> Path:
    path = place / "SAL_AA0001AA_AS.scaffold.fasta"
    path.write_text(text)
    return path


def run(place: Path, script: str = WRITE, **more: Any) -> GenericResult:
    """Run a program of this text, after what it says of its version, in `place/SeroPred`."""
    (place / "bin").mkdir(exist_ok=True)
    path = place / "bin" / "finder"
    path.write_text(f"#!/bin/bash\n{VERSION}{script}\n")
    path.chmod(0o755)
    program = Program(name="finder", directory=path.parent)
    pipeline = more.pop("pipeline", None) or a_pipeline()
    assembly = more.pop("assembly", None) or an_assembly(place)
    return asyncio.run(run_pipeline(pipeline, program, assembly, place / "SeroPred", **more))


def test_a_program_that_no_code_of_ours_knows_gives_results(tmp_path: Path) -> None:
    found = run(tmp_path)

    assert found.results == {"serovar": "Agona", "H1": "f,g,s", "none": None}
    assert found.tools == (("finder", "2.1"),)
    assert found.argv == (
        f"{tmp_path}/bin/finder",
        f"{tmp_path}/SeroPred/assembly.fasta",
        f"{tmp_path}/SeroPred/found.json",
    )
    assert found.wall_s > 0


def test_standard_output_can_be_the_result(tmp_path: Path) -> None:
    pipeline = a_pipeline(arguments=["{fasta}"], output="stdout")

    assert run(tmp_path, ANSWER, pipeline=pipeline).results["serovar"] == "Agona"


def test_a_program_reads_plain_fasta_whatever_the_assembly_is(tmp_path: Path) -> None:
    packed = tmp_path / "SAL_AA0001AA_AS.fastq.gz"
    packed.write_bytes(gzip.compress(b"@c1 len=100\n" + b"acgtn" * 20 + b"\n+\n" + b"I" * 100))

    run(tmp_path, assembly=packed)

    assert (tmp_path / "SeroPred" / "assembly.fasta").read_text() == (
        ">c1\n" + "ACGTN" * 16 + "\n" + "ACGTN" * 4 + "\n"
    )


def test_names_of_contigs_cannot_disturb_a_program(tmp_path: Path) -> None:
    names = ["NODE_1.2|x", "a;b", "a=b", "Ω\x01'\"", ">x", "e", "n" * 999]
    text = "".join(f">{name} said so\n{'' if name == 'e' else 'ACGT'}\n" for name in names)

    run(tmp_path, assembly=an_assembly(tmp_path, text))

    lines = (tmp_path / "SeroPred" / "assembly.fasta").read_text().splitlines()
    assert lines[::2] == [
        ">NODE_1.2|x",
        ">a_b",
        ">a_b_3",
        ">____",
        ">_x",
        f">{'n' * 200}",
    ]
    assert set(lines[1::2]) == {"ACGT"}


def test_the_number_of_processes_and_the_genus_are_passed_on(tmp_path: Path) -> None:
    script = 'echo "[{\\"serovar\\": \\"$2 $3\\"}]"'
    pipeline = a_pipeline(
        arguments=["{fasta}", "{n_processes}", "{genus}"],
        output="stdout",
        fields={"serovar": "serovar"},
    )

    found = run(tmp_path, script, pipeline=pipeline, n_processes=3, genus="Yersinia")

    assert found.results == {"serovar": "3 Yersinia"}


def test_a_genus_that_a_pipeline_is_not_for_starts_no_program(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="Finding is for Salmonella, not for 'Vibrio'"):
        run(tmp_path, pipeline=a_pipeline(genera=["Salmonella"]), genus="Vibrio")

    assert not (tmp_path / "SeroPred").exists()


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("exit 0", "finder ended with status 0, but left no found.json"),
        (': > "$2"', "finder ended with status 0, but found.json is empty"),
        ('mkdir "$2"', "finder ended with status 0, but left no found.json"),
        ('echo half > "$2"', "found.json cannot be read as json-list"),
        ("""echo '[{"serovar": "Agona"}]' > "$2" """, "found.json has no 'h.h1'"),
    ],
)
def test_a_success_without_its_output_is_a_failure(
    tmp_path: Path, script: str, reason: str
) -> None:
    with pytest.raises(OutputInvalid, match=reason):
        run(tmp_path, script)


def test_the_output_of_an_earlier_run_is_not_taken_for_this_one(tmp_path: Path) -> None:
    run(tmp_path)

    with pytest.raises(OutputInvalid, match=r"left no found\.json"):
        run(tmp_path, "exit 0")


def test_the_kept_file_of_an_earlier_run_is_not_taken_for_this_one(tmp_path: Path) -> None:
    pipeline = a_pipeline(files={"table": "table.tsv.gz"})
    run(tmp_path, f"{WRITE}; echo a > table.tsv", pipeline=pipeline)

    with pytest.raises(OutputInvalid, match=r"left no table\.tsv\.gz"):
        run(tmp_path, pipeline=pipeline)


@pytest.mark.parametrize(
    ("script", "kind", "reason"),
    [
        ("exit 2", ProgramFailed, "^finder ended with status 2: it said nothing$"),
        ("echo out; echo why >&2; exit 1", ProgramFailed, "^finder ended with status 1: why$"),
        (
            "echo 'Error: no BLAST' >&2; echo bye; exit 1",
            ProgramFailed,
            "^finder ended with status 1: Error: no BLAST$",
        ),
        (
            "echo 'x.BlastError: gone' >&2; echo see the log >&2; exit 1",
            ProgramFailed,
            "1: x.BlastError: gone$",
        ),
        ("kill -9 $$", ProgramKilled, "^finder was killed by signal 9$"),
    ],
)
def test_a_failure_says_what_the_program_said(
    tmp_path: Path, script: str, kind: type[ProgramError], reason: str
) -> None:
    with pytest.raises(kind, match=reason) as failure:
        run(tmp_path, script)

    assert failure.value.directory == tmp_path / "SeroPred"


@pytest.mark.parametrize("limits", [(0.3, 300.0), (300.0, 0.3), (0.3, None)])
def test_the_shorter_time_limit_holds(tmp_path: Path, limits: tuple[float, float | None]) -> None:
    pipeline = a_pipeline(time_limit_s=limits[0])

    with pytest.raises(ProgramTimedOut, match=r"finder timed out after 0\.3 s"):
        run(tmp_path, "sleep 200", pipeline=pipeline, time_limit_s=limits[1])


def test_another_program_of_the_same_name_is_told_apart(tmp_path: Path) -> None:
    version = {"arguments": ["--version"], "pattern": r"^sistr_cmd (\S+)"}

    with pytest.raises(OutputInvalid, match="finder does not say its version as Finding expects"):
        run(tmp_path, "touch started", pipeline=a_pipeline(version=version))
    assert not (tmp_path / "SeroPred" / "started").exists()


def test_a_program_that_is_missing_is_named(tmp_path: Path) -> None:
    program = Program(name="no-such-finder")

    with pytest.raises(ProgramNotFound, match="no-such-finder is not installed"):
        asyncio.run(
            run_pipeline(a_pipeline(), program, an_assembly(tmp_path), tmp_path / "SeroPred")
        )


@pytest.mark.parametrize("text", ["", ">c1\n", "no assembly", ">c1\nACGT\n>c1\nACGT\n"])
def test_what_is_no_assembly_starts_no_program(tmp_path: Path, text: str) -> None:
    with pytest.raises(InconsistentInput):
        run(tmp_path, "touch started", assembly=an_assembly(tmp_path, text))

    assert list(tmp_path.rglob("started")) == []


def test_an_assembly_that_has_not_arrived_is_waited_for(tmp_path: Path) -> None:
    with pytest.raises(FileNotYetVisible):
        run(tmp_path, assembly=tmp_path / "later.fasta.gz")


def test_files_are_kept_and_compressed_to_the_same_bytes_each_time(tmp_path: Path) -> None:
    files = {"gff_file": "a.gff.gz", "log_file": "log/run.txt", "packed": "own.gz"}
    script = f"{WRITE}; echo genes > a.gff; mkdir -p log; echo x > log/run.txt; echo > own.gz"
    work = tmp_path / "SeroPred"

    found = run(tmp_path, script, pipeline=a_pipeline(files=files))
    first = (work / "a.gff.gz").read_bytes()
    run(tmp_path, script, pipeline=a_pipeline(files=files))

    assert found.files == {key: work / name for key, name in files.items()}
    assert gzip.decompress(first) == b"genes\n"
    assert (work / "a.gff.gz").read_bytes() == first
    assert (work / "own.gz").read_bytes() == b"\n"
    assert not (work / "a.gff").exists()


def test_results_are_stored_with_the_paths_where_the_files_are_now(tmp_path: Path) -> None:
    found = run(
        tmp_path, f"{WRITE}; echo > a.gff", pipeline=a_pipeline(files={"gff_file": "a.gff"})
    )
    moved = {"gff_file": Path("/archive/a.gff")}

    assert found.stored()["gff_file"] == f"{tmp_path}/SeroPred/a.gff"
    assert json.loads(json.dumps(found.stored(moved))) == {
        "serovar": "Agona",
        "H1": "f,g,s",
        "none": None,
        "gff_file": "/archive/a.gff",
    }


def test_a_declared_column_that_no_result_fills_is_reported() -> None:
    columns = [Column(name=name, label=name) for name in ("serovar", "O", "none")]

    assert check_columns({"serovar": "Agona", "none": None, "more": 1}, columns) == ("O",)
    assert check_columns({"O": "4", "serovar": "", "none": None}, columns) == ()
