from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blocks.genomics.quality_limits import limits_of
from blocks.genomics.records import (
    AssemblyFiles,
    AssemblyStatistics,
    CallStatus,
    Fate,
    LookupStatus,
    ReadCounts,
    SpeciesShare,
    Verdict,
)
from tasks.genomics.assembly_quality import judge
from tasks.genomics.plots import contigs_picture
from tasks.genomics.report import SchemeRow, failure_report, strain_report
from tests.fakes.pages import HOSTILE, looks, nasty_text, rendered, rows_of, words

STATISTICS = AssemblyStatistics(
    n_contigs=195, total_length=4_886_876, n50=203_546, l50=6, longest=726_282, gc_share=0.522,
    low_quality=1_234, low_quality_share=0.0002525, mean_depth=48.25, contig_lengths=(726_282, 300),
)  # fmt: skip
SPECIES = (
    SpeciesShare(name="Escherichia coli", percent=2.1),
    SpeciesShare(name="Salmonella enterica", percent=96.66),
)
VERDICT = judge(STATISTICS, SPECIES, limits_of("Salmonella"))
READS = ReadCounts(
    reads=1_234_568, reads_kept=1_200_000, bases=185_185_050, bases_kept=178_000_000,
    q30_share=0.921,
)  # fmt: skip
FILES = AssemblyFiles(
    fastq=Path("/share/12/a.fastq.gz"), fasta=Path("/share/12/a.fasta.gz"), assembler="SKESA",
    tools=(("fastp", "0.23.2"), ("skesa", "2.4.0")),
)  # fmt: skip
MLST = SchemeRow(
    scheme="MLST_Achtman", status=LookupStatus.COMPLETE, result="ST 15",
    counts={CallStatus.EXACT: 6, CallStatus.NOVEL: 1}, link="/runs/flow-run/1",
)  # fmt: skip
CGMLST = SchemeRow(
    scheme="cgMLST_v2", status=LookupStatus.COMPLETE, result="ST 90001",
    counts={
        CallStatus.EXACT: 2_961, CallStatus.NOVEL: 23, CallStatus.MISSING: 12,
        CallStatus.FRAGMENTED: 3, CallStatus.DUPLICATED: 2, CallStatus.AMBIGUOUS: 4,
        CallStatus.NO_ORF: 5,
    },
)  # fmt: skip
SEROVAR = SchemeRow(
    scheme="SeroPred", status=LookupStatus.FAILED, fate=Fate.PERMANENT, reason="no antigen found"
)
QUEUED = SchemeRow(scheme="wgMLST", status=LookupStatus.QUEUED)


def a_report(
    strain: str = "SRR1002850",
    verdict: Verdict = VERDICT,
    species: Sequence[SpeciesShare] | None = SPECIES,
    **more: Any,
) -> str:
    return strain_report(strain, verdict, STATISTICS, species=species, **more)


def a_failed_verdict(**changed: float) -> Verdict:
    found = STATISTICS.model_copy(update=changed or {"n50": 5_421, "n_contigs": 900})
    return judge(found, SPECIES, limits_of("Salmonella"))


# An assembled strain


def test_a_report_begins_with_the_strain_its_verdict_and_its_results() -> None:
    said = words(a_report(schemes=[MLST, CGMLST, SEROVAR, QUEUED]))

    assert said[:3] == [
        "SRR1002850",
        "PASSED by the limits for Salmonella.",
        "MLST_Achtman: ST 15, cgMLST_v2: ST 90001, 1 of 4 schemes failed",
    ]


def test_a_failed_assembly_says_so_first_and_gives_every_reason() -> None:
    said = words(a_report(verdict=a_failed_verdict()))

    assert said[1:4] == [
        "FAILED by the limits for Salmonella. It is not typed.",
        "The assembly is in too many pieces: 900 contigs, at most 600 for Salmonella",
        "The contigs are too short: N50 is 5,421 bp, at least 20,000 bp for Salmonella",
    ]
    assert said[-1] == "No scheme was called."


def test_the_default_limits_are_named_as_such() -> None:
    verdict = judge(STATISTICS, None, limits_of("Achromobacter"))

    said = words(a_report(verdict=verdict))

    assert said[1] == "PASSED by the default limits: its genus has none of its own."


def test_the_criteria_are_a_table_of_value_limit_and_outcome() -> None:
    rows = rows_of(a_report(verdict=a_failed_verdict(n50=5_421)))

    assert rows["Number of bases"] == ["4.89 Mb", "4.00 to 5.80 Mb", "passed"]
    assert rows["Number of contigs"] == ["195", "at most 600", "passed"]


def test_a_failed_criterion_is_marked() -> None:
    page = strain_report("x", a_failed_verdict(n_contigs=601), STATISTICS)

    assert rows_of(page)["Number of contigs"] == ["601", "at most 600", "FAILED"]


def test_species_that_nobody_looked_at_are_said_twice() -> None:
    verdict = judge(STATISTICS, None, limits_of("Salmonella"))

    page = a_report(verdict=verdict, species=None)

    assert "| - | at least 65" in page
    assert "No species database: not looked at" in words(page)
    assert rows_of(page)["Species"] == ["not looked at"]


def test_the_statistics_are_in_units_that_a_biologist_reads() -> None:
    rows = rows_of(a_report())

    assert rows["Length"] == ["4,886,876 bp"]
    assert rows["Contigs of 300 bp or more"] == ["195"]
    assert (rows["L50"], rows["Longest contig"]) == (["6"], ["726,282 bp"])
    assert (rows["GC"], rows["Mean depth"]) == (["52.2 %"], ["48.2"])
    assert rows["Low-quality bases"] == ["1,234 (0.0 %)"]
    assert rows["Species"] == ["Salmonella enterica 96.66 %, Escherichia coli 2.10 %"]


def test_the_reads_are_told_before_and_after_trimming() -> None:
    page = a_report(reads=READS)

    rows = rows_of(page)
    assert rows["Reads"] == ["1,234,568", "1,200,000", "97.2 %"]
    assert rows["Bases (Mb)"] == ["185.2", "178.0", "96.1 %"]
    assert "92.1 % of the bases have quality 30 or better." in words(page)


def test_no_reads_at_all_are_no_division() -> None:
    none = ReadCounts(reads=0, reads_kept=0, bases=0, bases_kept=0)

    assert rows_of(a_report(reads=none))["Reads"] == ["0", "0", "-"]


def test_programs_with_versions_and_files_are_told() -> None:
    page = a_report(files=FILES)

    rows = rows_of(page)
    assert (rows["fastp"], rows["skesa"]) == (["0.23.2"], ["2.4.0"])
    assert [t.content for t in rendered(page) if t.type == "fence"] == [
        "/share/12/a.fastq.gz\n/share/12/a.fasta.gz\n"
    ]


def test_what_else_can_be_opened_is_linked() -> None:
    page = a_report(links=[("log of SKESA", "https://lab.example/log(1).txt?a=1&b=2#end")])

    (found,) = [t.attrs["href"] for t in rendered(page) if t.type == "link_open"]
    assert found == "https://lab.example/log%281%29.txt?a=1&b=2#end"
    assert "log of SKESA" in words(page)


def test_a_picture_is_inside_the_page_under_its_title() -> None:
    uri = contigs_picture(STATISTICS)

    page = a_report(pictures=[("Contigs", uri)])

    assert [t.attrs["src"] for t in rendered(page) if t.type == "image"] == [uri]
    assert "Contigs" in words(page)


def test_each_scheme_has_its_row_with_counts_or_the_fate_of_its_failure() -> None:
    rows = rows_of(a_report(schemes=[MLST, CGMLST, SEROVAR, QUEUED]))

    assert rows["Scheme"][:-1] == [
        "Result", "Exact", "Novel", "Missing", "Fragmented", "Duplicated", "Other",
    ]  # fmt: skip
    assert rows["MLST_Achtman"] == ["ST 15", "6", "1", "0", "0", "0", "0", "COMPLETE"]
    assert rows["cgMLST_v2"] == ["ST 90001", "2,961", "23", "12", "3", "2", "9", "COMPLETE"]
    assert rows["SeroPred"] == [*"-------", "FAILED, permanent: no antigen found"]
    assert rows["wgMLST"] == [*"-------", "QUEUED"]


def test_a_scheme_links_to_its_run() -> None:
    page = a_report(schemes=[MLST, CGMLST])

    links = [t.attrs["href"] for t in rendered(page) if t.type == "link_open"]
    assert links == ["/runs/flow-run/1"]


@pytest.mark.parametrize("count", [1, 30])
def test_a_page_is_bounded_however_long_a_text_is(count: int) -> None:
    endless = "x" * 1_000_000
    row = SchemeRow(scheme=endless, status=LookupStatus.FAILED, reason=endless, result=endless)

    assert len(a_report(endless, schemes=[row] * count)) < 3_000 + 2_000 * count


# A failure


def test_a_failure_begins_with_its_reason_and_ends_with_its_evidence() -> None:
    page = failure_report(
        "SRR1", "SKESA left no contig.", "in /share/12\n\nlast line", fate=Fate.PERMANENT,
        of_call=True, facts=[("Job", "12")],
    )  # fmt: skip

    assert words(page)[:3] == [
        "SRR1 failed",
        "SKESA left no contig.",
        "It is put aside until its input, its scheme or its program changes, or somebody "
        "forces it.",
    ]
    assert rows_of(page)["Job"] == ["12"]
    assert rendered(page)[-1].content == "in /share/12\n\nlast line\n"


@pytest.mark.parametrize("fate", Fate)
def test_what_happens_next_is_said_of_every_fate(fate: Fate) -> None:
    others = {failure_report("x", "y", "z", fate=one) for one in Fate if one is not fate}

    assert failure_report("x", "y", "z", fate=fate) not in others


def test_of_what_is_not_held_back_nothing_is_said_of_waiting_for_a_change() -> None:
    page = failure_report("SRR1", "no such reads", "", fate=Fate.PERMANENT)

    assert "It is put aside: the same input would fail again." in words(page)


@pytest.mark.parametrize("of_call", [True, False])
def test_nobody_promises_that_something_is_tried_again_by_itself(*, of_call: bool) -> None:
    page = failure_report("SRR1", "no archive", "", fate=Fate.TRANSIENT, of_call=of_call)

    assert words(page)[2] == "It is not its input's fault: another run of it may go well."


def test_of_a_long_log_the_end_is_kept() -> None:
    page = failure_report("x", "y", "first" + "." * 100_000 + "last", fate=Fate.BUG)

    assert len(page) < 21_000
    assert "first" not in page
    assert "last" in page


# What others can write into it

Page = Callable[[str], str]


def a_page_full_of(text: str) -> str:
    criterion = VERDICT.criteria[0].model_copy(
        update={"name": text, "value": text, "limit": text, "passed": False, "reason": text}
    )
    species = (SpeciesShare(name=text, percent=99),)
    files = AssemblyFiles(
        fastq=Path("a"), fasta=Path("b"), assembler=text, tools=((text, text), ("fastp", text))
    )
    row = SchemeRow(
        scheme=text, status=LookupStatus.FAILED, result=text, fate=Fate.BUG, reason=text
    )
    return a_report(
        text,
        Verdict(genus=text, criteria=(criterion,)),
        species,
        files=files,
        schemes=[row, MLST.model_copy(update={"scheme": text, "result": text})],
        links=[(text, "/x")],
    )


def a_failure_of(text: str) -> str:
    return failure_report(text, text, text, fate=Fate.BUG, facts=[("Job", text)])


@pytest.mark.parametrize("page", [a_page_full_of, a_failure_of])
@pytest.mark.parametrize("text", HOSTILE)
def test_what_others_wrote_is_only_words(page: Page, text: str) -> None:
    assert looks(page(text)) == looks(page("x"))


@pytest.mark.parametrize("page", [a_page_full_of, a_failure_of])
@settings(deadline=None, max_examples=60)
@given(text=nasty_text)
def test_no_text_changes_the_page(page: Page, text: str) -> None:
    assert looks(page(text)) == looks(page("x"))


@pytest.mark.parametrize("text", ["a_b*c", "R&D &lt; 1", "[x](y)", "C:\\a|b", "<i>`$1`"])
def test_what_others_wrote_is_shown_as_it_is(text: str) -> None:
    page = a_report(text, schemes=[SEROVAR.model_copy(update={"reason": text})])

    assert words(page)[0] == text
    assert rows_of(page)["SeroPred"][-1] == f"FAILED, permanent: {text}"


@settings(deadline=None, max_examples=60)
@given(text=st.text(max_size=30))
def test_a_page_can_be_stored_whatever_it_holds(text: str) -> None:
    odd = f"{text}\ud800\0\x1b[31m\u202e"

    for page in (a_page_full_of(odd), a_failure_of(odd)):
        assert not {"\0", "\x1b", "\u202e"} & set(page.encode().decode())


@pytest.mark.parametrize("path", ["a\n```\n# b", "a`b", "\udcff", "a|b"])
def test_no_name_of_a_file_leaves_the_block_of_files(path: str) -> None:
    files = FILES.model_copy(update={"fastq": Path(path)})

    assert looks(a_report(files=files)) == looks(a_report(files=FILES))


@pytest.mark.parametrize(
    "address",
    [
        "javascript:alert(1)",
        "data:text/html,x",
        "//evil.example",
        "/\\evil",
        "",
        "http://",
        "/\ud800",
    ],
)
def test_an_address_that_is_not_of_the_web_is_no_link(address: str) -> None:
    page = a_report(schemes=[MLST.model_copy(update={"link": address})])

    assert "link_open" not in looks(page)[0]
    assert "MLST_Achtman" in rows_of(page)


@settings(deadline=None, max_examples=60)
@given(text=nasty_text)
def test_no_address_leaves_its_link(text: str) -> None:
    page = a_report(schemes=[MLST.model_copy(update={"link": "/runs/" + "".join(text.split())})])

    assert looks(page)[1] == looks(a_report(schemes=[MLST]))[1]
    assert looks(page)[0] in (
        looks(a_report(schemes=[MLST]))[0],
        looks(a_report(schemes=[MLST.model_copy(update={"link": ""})]))[0],
    )
