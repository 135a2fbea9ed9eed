"""Sequences that a person pasted: what is found of a scheme in them, and nothing is minted."""

import json
from typing import Any

import pytest

from blocks.errors import InconsistentInput, NoSuchRecord
from blocks.genomics.records import Profile
from tests.flows.isolates import MLST, Isolates, published, with_new_allele

A = MLST.alleles["demA"]


def pasted(*sequences: bytes) -> str:
    return "".join(f">seq{n} mine\n{s.decode()}\n" for n, s in enumerate(sequences, 1))


def analysis(isolates: Isolates) -> dict[str, Any]:
    """Return the only row of user_preferences, its data decoded once, as the site does."""
    [row] = isolates.look.rows("SELECT * FROM user_preferences")
    return {**row._mapping, "data": json.loads(row.data)}


def test_loci_are_found_in_several_sequences(isolates: Isolates) -> None:
    flank = b"ACGGTCATTG" * 10
    found = isolates.search(pasted(flank + A[2] + flank, MLST.alleles["demF"][4], flank))

    assert found.loci == {"demA": 3, "demF": 5}


def test_what_is_found_is_in_the_analysis_of_its_owner(isolates: Isolates) -> None:
    found = isolates.search(pasted(A[2]), name="my genes", user_id=55)

    row = analysis(isolates)
    assert (row["id"], row["type"], row["name"]) == (found.analysis, "locus_search", "my genes")
    assert (row["database"], row["user_id"]) == ("synthetica", 55)
    data = row["data"]
    assert (data["complete"], data["job_id"], data["scheme"]) == ("true", found.job_id, "mlst")
    assert "failed" not in data
    job = isolates.store.jobs.job(found.job_id)  # the site gives it to its own handler
    assert (job.pipeline, job.accession) == ("locus_search", str(found.analysis))
    assert (job.status, job.user_id) == ("COMPLETE", 55)
    [locus] = data["results"]
    assert (locus["locus"], locus["allele"], locus["places"][0]["contig"]) == ("demA", 3, "seq1")


def test_a_perfect_new_allele_is_shown_and_not_minted(isolates: Isolates) -> None:
    new = with_new_allele(MLST, 1, "demA")["demA"]
    before = isolates.look.count("alleles"), isolates.look.count("sequence_types")
    # With the best qualities that FASTQ knows: a search mints nothing all the same.
    found = isolates.search(f"@mine\n{new.decode()}\n+\n{'~' * len(new)}\n")

    assert found.loci == {"demA": None}
    after = isolates.look.count("alleles"), isolates.look.count("sequence_types")
    assert after == before
    [locus] = analysis(isolates)["data"]["results"]
    assert (locus["status"], locus["allele"], locus["sequence"]) == ("novel", None, new.decode())


def test_a_piece_of_a_locus_is_found_and_is_of_no_use(isolates: Isolates) -> None:
    assert isolates.search(pasted(A[0][: len(A[0]) // 2])).loci == {"demA": -1}


def test_a_whole_genome_that_is_pasted_has_its_type_in_the_report(isolates: Isolates) -> None:
    found = isolates.search(pasted(*MLST.carried(5).values()))

    [run] = isolates.store.jobs.runs(found.job_id)
    assert published(run).startswith("# mlst: ST 5")


@pytest.mark.parametrize(("piece", "said"), [(b"", "ST 99"), (A[4][:300], "no sequence type")])
def test_only_a_genome_truly_without_a_locus_has_the_type_with_a_null_allele(
    isolates: Isolates, piece: bytes, said: str
) -> None:
    scheme = isolates.store.schemes.scheme(MLST.name)
    null = Profile(99, (0, *MLST.profiles[4][1:]))
    isolates.store.schemes.load(
        scheme.description, name=scheme.name, param=scheme.param,
        loci=[(locus, tuple(enumerate(own, 1))) for locus, own in MLST.alleles.items()],
        profiles=[null],
    )  # fmt: skip
    rest = list(MLST.carried(5).values())[1:]
    found = isolates.search(pasted(*filter(None, [piece, *rest])))

    [run] = isolates.store.jobs.runs(found.job_id)
    assert published(run).startswith(f"# mlst: {said}")


def test_nothing_found_is_complete_and_empty(isolates: Isolates) -> None:
    found = isolates.search(pasted(b"ACGGTCATTG" * 30))

    assert found.loci == {}
    assert analysis(isolates)["data"]["results"] == []


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("hello", "is neither FASTA nor FASTQ: it begins with b'hello'"),
        (">one\n>two\n", "has no sequence"),
        (">protein\nMKVLAAGIVGLCAKAYD\n", "has the letter 'L' in a sequence: not DNA"),
    ],
)
def test_garbage_is_a_failure_that_says_what_is_wrong(
    isolates: Isolates, text: str, reason: str
) -> None:
    with pytest.raises(InconsistentInput, match=reason):
        isolates.search(text, name="../my <b>search</b>")

    data = analysis(isolates)["data"]
    assert (data["failed"], reason in data["reason"]) == ("true", True)
    assert ("complete" in data, isinstance(data["job_id"], int)) == (False, True)
    assert isolates.store.jobs.job(data["job_id"]).status == "FAILED"
    [run] = isolates.store.jobs.runs(data["job_id"])
    assert "<b>" not in published(run).partition("```")[0]


@pytest.mark.parametrize(
    ("scheme", "kind", "reason"),
    [
        ("nowhere", NoSuchRecord, "there is no scheme 'nowhere'"),
        ("SeroPred", InconsistentInput, "SeroPred is no nomenclature scheme"),
    ],
)
def test_a_scheme_without_loci_is_refused_before_there_is_an_analysis(
    isolates: Isolates, scheme: str, kind: type[Exception], reason: str
) -> None:
    isolates.generic("SeroPred", pipeline="SeroPred")
    with pytest.raises(kind, match=reason):
        isolates.search(pasted(A[0]), scheme)

    assert isolates.look.count("user_preferences") == isolates.look.count("user_jobs") == 0


def test_each_flow_is_called_as_the_table_of_jobs_calls_it() -> None:
    from flows.search_loci import search_loci  # noqa: PLC0415 - loads Prefect
    from flows.type_assembly import type_assembly  # noqa: PLC0415 - loads Prefect
    from tasks.genomics.dispatch import Handler  # noqa: PLC0415

    assert (search_loci.name, type_assembly.name) == (Handler.SEARCH, Handler.TYPE)
