"""A generic scheme on an assembly: rows, a program, and what the site shows of its answer."""

import json
import sys
from typing import Any

import pytest

from blocks.errors import (
    FileNotYetVisible,
    InvalidRequest,
    ProgramFailed,
    ProgramKilled,
    ProgramNotFound,
    ProgramTimedOut,
)
from blocks.genomics.records import Fate, LookupStatus
from tests.fakes.programs import script
from tests.flows.isolates import Isolates

# In SISTR's place: it looks at what it is asked, and at the file that it is given.
SISTR = """#!{python}
import json, pathlib, sys
if sys.argv[1:] == ["-V"]:
    print("sistr_cmd 1.1.3")
    sys.exit()
here = pathlib.Path.cwd()
wanted = ["-f", "json", "-o", f"{{here}}/sistr.json", "--qc", "-T", str(here), "-t", "2",
          "-i", f"{{here}}/assembly.fasta", "assembly"]
assert sys.argv[1:] == wanted, sys.argv
contigs = (here / "assembly.fasta").read_text().count(">contig_")
{deed}
"""
KEYS = (
    *("serovar", "serogroup", "antigenic_formula", "o_antigen", "h1", "h2", "serovar_antigen"),
    *("serovar_cgmlst", "cgmlst_subspecies", "cgmlst_found_loci", "cgmlst_matching_alleles"),
    *("cgmlst_distance", "cgmlst_genome_match", "qc_status", "qc_messages"),
)
ANSWER = f"""
found = dict.fromkeys({KEYS!r}, "-") | {{"serovar": "Agona", "cgmlst_found_loci": contigs}}
(here / "sistr.json").write_text(json.dumps([found]))
"""


def sistr(isolates: Isolates, deed: str = ANSWER) -> None:
    script(isolates.programs / "sistr", SISTR.format(python=sys.executable, deed=deed))


def a_pipeline(isolates: Isolates, name: str, **changes: Any) -> None:
    """Write a site's own pipeline, of a program that is called finder."""
    usual: dict[str, Any] = {
        "program": "finder",
        "arguments": ["{fasta}"],
        "output": "stdout",
        "reader": "json",
        "version": {"arguments": ["-v"], "pattern": r"finder (\S+)"},
        "time_limit_s": 60,
        "fields": {"ST": "type"},
        "files": {"table_file": "table.tsv.gz"},
    }
    path = isolates.root / "pipelines" / f"{name}.json"
    path.write_text(json.dumps(usual | changes))


def finder(isolates: Isolates, answer: str = '{"type": "-"}', deed: str = "") -> None:
    text = f"[ $1 = -v ] && echo finder 3 && exit\necho a > table.tsv\necho '{answer}'\n{deed}\n"
    script(isolates.programs / "finder", f"#!/bin/sh\n{text}")


def test_rows_are_all_that_a_new_scheme_of_a_known_program_needs(isolates: Isolates) -> None:
    scheme = isolates.generic("Serovar", "serovar", pipeline="SeroPred")
    sistr(isolates)
    barcode = isolates.genome()
    typed = isolates.type(barcode, scheme, toolchain=isolates.toolchain())

    assert (typed.st, typed.results["serovar"], typed.results["cgmlst_found_loci"]) == (
        *(None, "Agona", 3),
    )
    call = isolates.call(barcode, scheme)
    assert (call.status, call.results, call.st_barcode) == ("COMPLETE", typed.results, "")
    job = isolates.store.jobs.job(typed.job_id)
    assert (job.accession, job.pipeline, job.status) == (barcode, "Serovar", "COMPLETE")
    assert job.version == "sistr 1.1.3"
    report = isolates.report(barcode, scheme)
    assert ("| Serovar | Agona |" in report, barcode.replace("_", "\\_") in report) == (True, True)


def test_files_lie_under_the_jobs_number_and_the_results_point_at_them(isolates: Isolates) -> None:
    toolchain = isolates.toolchain()
    a_pipeline(isolates, "Finding")
    finder(isolates)
    scheme = isolates.generic("Finding", pipeline="Finding")
    barcode = isolates.genome()
    typed = isolates.type(barcode, scheme, toolchain=toolchain)

    path = isolates.share / str(typed.job_id) / "table.tsv.gz"
    assert isolates.call(barcode, scheme).results == {"ST": "-", "table_file": str(path)}
    assert path.is_file()


def test_a_programs_own_st_is_no_number_of_ours_also_when_it_is_known(isolates: Isolates) -> None:
    toolchain = isolates.toolchain()
    a_pipeline(isolates, "Finding")
    finder(isolates, '{"type": 7}')
    scheme, barcode = isolates.generic("Finding", pipeline="Finding"), isolates.genome()
    typed = [isolates.type(barcode, scheme, toolchain=toolchain) for _ in range(2)]

    assert [(one.st, one.was_known) for one in typed] == [(None, False), (None, True)]
    assert typed[0].results == typed[1].results


def test_a_scheme_without_a_pipeline_is_typed_when_asked_and_never_by_itself(
    isolates: Isolates,
) -> None:
    scheme = isolates.generic("SeroPred")
    sistr(isolates)
    typed = isolates.type(isolates.genome(), scheme, toolchain=isolates.toolchain())

    automatic = {one.description: one.is_automatic for one in isolates.store.schemes.schemes()}
    assert automatic == {"mlst": True, "SeroPred": False}
    assert typed.results["serovar"] == "Agona"


@pytest.mark.parametrize(
    ("deed", "kind", "fate", "reason"),
    [
        (
            "sys.exit('Error: no BLAST here')",
            *(ProgramFailed, Fate.PERMANENT, "sistr ended with status 1: Error: no BLAST here"),
        ),
        ("import os; os.kill(os.getpid(), 9)", ProgramKilled, Fate.TRANSIENT, "by signal 9"),
        ("import time; time.sleep(60)", ProgramTimedOut, Fate.TRANSIENT, "timed out after 1 s"),
    ],
)
def test_a_program_that_fails_leaves_its_reason_and_the_evidence(
    isolates: Isolates, deed: str, kind: type[Exception], fate: Fate, reason: str
) -> None:
    scheme = isolates.generic("SeroPred", pipeline="SeroPred")
    sistr(isolates, deed)
    barcode = isolates.genome()
    toolchain = isolates.toolchain(time_limit_s=1.0)
    with pytest.raises(kind, match=reason):
        isolates.type(barcode, scheme, toolchain=toolchain)

    call = isolates.call(barcode, scheme)
    assert (call.status, call.fate) == (LookupStatus.FAILED, fate)
    assert reason in call.reason.splitlines()[0]
    directory = isolates.share / str(call.job_id)
    assert f"in {directory}" in call.reason
    assert (directory / "assembly.fasta").is_file()
    assert isolates.store.jobs.job(call.job_id or 0).status == "FAILED"
    assert str(directory) in isolates.report(barcode, scheme)


def test_a_program_that_is_not_installed_is_no_fault_of_the_isolate(isolates: Isolates) -> None:
    scheme = isolates.generic("Finding", pipeline="Finding")
    toolchain, barcode = isolates.toolchain(), isolates.genome()
    a_pipeline(isolates, "Finding")
    with pytest.raises(ProgramNotFound, match="finder is not installed: searched "):
        isolates.type(barcode, scheme, toolchain=toolchain)

    call = isolates.call(barcode, scheme)
    assert call.fate is Fate.TRANSIENT
    assert call.reason.startswith(f"finder is not installed: searched {isolates.programs}")


def test_a_file_that_is_not_there_yet_is_no_fault_of_the_isolate(isolates: Isolates) -> None:
    scheme = isolates.generic("SeroPred", pipeline="SeroPred")
    sistr(isolates)
    barcode = isolates.register(isolates.root / "later.fasta")
    with pytest.raises(FileNotYetVisible):
        isolates.type(barcode, scheme, toolchain=isolates.toolchain())

    assert isolates.call(barcode, scheme).fate is Fate.TRANSIENT


@pytest.mark.parametrize(
    ("pipeline", "reason"),
    [
        ("nowhere", "unknown pipeline 'nowhere'; known: "),
        ("ForVibrio", "pipeline ForVibrio is for Vibrio, not for 'Salmonella'"),
    ],
)
def test_a_scheme_that_nothing_can_call_is_put_aside_and_says_why(
    isolates: Isolates, pipeline: str, reason: str
) -> None:
    scheme, toolchain = isolates.generic("New", pipeline=pipeline), isolates.toolchain()
    a_pipeline(isolates, "ForVibrio", genera=["Vibrio"])
    barcode = isolates.genome()
    with pytest.raises(InvalidRequest):
        isolates.type(barcode, scheme, toolchain=toolchain)

    call = isolates.call(barcode, scheme)
    assert (call.status, call.fate) == (LookupStatus.FAILED, Fate.PERMANENT)
    assert reason in call.reason
    assert isolates.store.jobs.job(call.job_id or 0).status == "FAILED"


def test_a_hostile_answer_of_a_program_is_stored_and_shown_as_text(isolates: Isolates) -> None:
    toolchain = isolates.toolchain()
    a_pipeline(isolates, "Finding")
    finder(isolates, r'{"type": "<b>\u001b[31m\ud800 | [x](http://evil)"}')
    scheme, barcode = isolates.generic("Finding", "ST", pipeline="Finding"), isolates.genome()
    typed = isolates.type(barcode, scheme, toolchain=toolchain)
    report = isolates.report(barcode, scheme)

    assert isolates.call(barcode, scheme).results == typed.results
    assert not any(bad in report for bad in ("<b>", "\x1b", "](http", "\ud800"))
