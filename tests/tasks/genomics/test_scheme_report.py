import re
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blocks.genomics.records import (
    CallStatus,
    Column,
    LocusCall,
    Place,
    SequenceType,
    Typing,
)
from tasks.genomics.plots import calls_picture
from tasks.genomics.scheme_report import generic_report, typing_report
from tests.fakes.pages import HOSTILE, looks, nasty_text, rendered, rows_of, words

LOCI = ("aroC", "dnaN", "hemD", "hisD", "purE", "sucA", "thrA")
KEY = UUID("d41d8cd9-8f00-b204-e980-0998ecf8427e")
PLACE = Place(contig="NODE_1", start=12_344, end=12_846, strand="-")


def exact(locus: str, allele: int = 5) -> LocusCall:
    return LocusCall(
        locus=locus, status=CallStatus.EXACT, allele=allele, places=(PLACE,), identity=1.0
    )


def novel(locus: str, **more: Any) -> LocusCall:
    return LocusCall(locus=locus, status=CallStatus.NOVEL, key=KEY, identity=0.98765, **more)


def a_typing(*calls: LocusCall, st: SequenceType | None = None, scheme: str = "MLST") -> Typing:
    return Typing(assembly="SAL_AB1234AA_AS", scheme=scheme, calls=calls, st=st)


def seven(**changed: LocusCall) -> tuple[LocusCall, ...]:
    return tuple(changed.get(locus, exact(locus, n)) for n, locus in enumerate(LOCI, 1))


def many(status: CallStatus, number: int) -> list[LocusCall]:
    return [LocusCall(locus=f"L{status.name}{n}", status=status) for n in range(number)]


# A typing


def test_a_typing_begins_with_its_sequence_type() -> None:
    st15 = SequenceType(number=15, barcode="SAL_1_ST")

    page = typing_report(a_typing(*seven(), st=st15))

    assert words(page)[0] == "MLST: ST 15"
    assert rows_of(page)["Sequence type"] == ["15, SAL_1_ST"]
    assert rows_of(page)["Loci with an allele number"] == ["7 of 7"]


def test_a_sequence_type_that_was_minted_is_said_to_be_new() -> None:
    minted = SequenceType(number=90001, barcode="SAL_9_ST", is_new=True)

    page = typing_report(a_typing(*seven(), st=minted))

    assert rows_of(page)["Sequence type"] == ["90001, SAL_9_ST, new"]


def test_without_a_sequence_type_the_loci_without_a_number_are_counted() -> None:
    missing = LocusCall(locus="purE", status=CallStatus.MISSING)
    twice = LocusCall(locus="sucA", status=CallStatus.DUPLICATED)

    page = typing_report(a_typing(*seven(purE=missing, sucA=twice)))

    assert words(page)[0] == "MLST: no sequence type"
    assert rows_of(page)["Loci with an allele number"] == ["5 of 7"]


@pytest.mark.parametrize(("n_missing", "asked"), [(3, False), (4, True)])
def test_a_genome_that_lacks_most_loci_is_asked_about(n_missing: int, *, asked: bool) -> None:
    calls = [*many(CallStatus.MISSING, n_missing), *seven()[n_missing:]]

    page = typing_report(a_typing(*calls))

    assert ("of another species" in page) is asked


def test_all_alleles_of_a_small_scheme_are_a_table() -> None:
    rows = rows_of(typing_report(a_typing(*seven())))

    assert rows["Locus"] == ["Allele", "Identity", "Where"]
    assert rows["hemD"] == ["3", "100.00 %", "NODE_1 12,345 to 12,846 (-)"]
    assert [locus for locus in rows if locus in LOCI] == list(LOCI)


@pytest.mark.parametrize("status", [s for s in CallStatus if s not in ("exact", "novel")])
def test_a_locus_without_an_allele_shows_what_was_found(status: CallStatus) -> None:
    call = LocusCall(locus="purE", status=status, places=(PLACE, PLACE, PLACE))

    rows = rows_of(typing_report(a_typing(*seven(purE=call))))

    assert rows["purE"] == [status.value, "-", "NODE_1 12,345 to 12,846 (-) and 2 more"]


def test_a_new_allele_is_shown_with_its_number() -> None:
    page = typing_report(a_typing(*seven(hemD=novel("hemD", allele=1203, min_quality=40))))

    assert rows_of(page)["hemD"][0] == "1203, new"
    assert words(page)[-2:] == ["New alleles (1)", "hemD 1203"]
    assert rows_of(page)["Loci with an allele number"] == ["7 of 7"]


@pytest.mark.parametrize(
    ("quality", "reason"),
    [
        (None, "novel, without a number: the assembly has no base qualities"),
        (9, "novel, without a number: a base has quality 9, at least 10 needed"),
        (10, "novel, without a number so far"),
    ],
)
def test_a_novel_allele_without_a_number_says_why(quality: int | None, reason: str) -> None:
    page = typing_report(a_typing(*seven(hemD=novel("hemD", min_quality=quality))))

    assert rows_of(page)["hemD"] == [reason, "98.77 %", "-"]
    assert "New alleles" not in page


def test_a_large_scheme_is_counted_and_only_what_is_not_exact_is_listed() -> None:
    calls = [exact(f"E{n}") for n in range(2_900)]
    calls += [*many(CallStatus.MISSING, 12), novel("n1", allele=7), novel("n2")]

    page = typing_report(a_typing(*calls))

    rows = rows_of(page)
    assert (rows["exact"], rows["novel"], rows["missing"]) == (["2,900"], ["2"], ["12"])
    said = words(page)
    assert said[said.index("Novel (2)") + 1] == "n1, n2"
    assert "1 without a number: the assembly has no base qualities." in said
    assert said[said.index("Missing (12)") + 1].startswith("LMISSING0, LMISSING1, ")
    assert said[-1] == "n1 7"
    assert "E1" not in page


@pytest.mark.parametrize(("number", "end"), [(50, "LMISSING49"), (51, "LMISSING49 and 1 more")])
def test_a_list_of_loci_is_cut_at_fifty(number: int, end: str) -> None:
    page = typing_report(a_typing(*many(CallStatus.MISSING, number), *many(CallStatus.EXACT, 99)))

    said = words(page)
    assert said[said.index(f"Missing ({number})") + 1].endswith(end)


def test_a_scheme_of_which_nothing_is_known_stays_short() -> None:
    calls = [LocusCall(locus="x" * 5_000, status=CallStatus.MISSING)] * 3_000

    assert len(typing_report(a_typing(*calls))) < 20_000


def test_an_empty_scheme_has_a_page() -> None:
    assert words(typing_report(a_typing()))[0] == "MLST: no sequence type"


def test_the_picture_of_the_calls_is_in_the_page() -> None:
    uri = calls_picture(seven())

    page = typing_report(a_typing(*seven()), pictures=[("Calls", uri)])

    assert [t.attrs["src"] for t in rendered(page) if t.type == "image"] == [uri]


# A generic scheme


def test_a_result_is_shown_under_the_labels_of_the_site() -> None:
    columns = [Column(name="serovar", label="Predicted serovar"), Column(name="x", label="X")]

    page = generic_report(
        "SeroPred", "SAL_1_AS", {"serovar": "Choleraesuis", "O": "6,7"}, columns=columns
    )

    assert words(page)[:2] == ["SeroPred", "Assembly SAL_1_AS"]
    assert rows_of(page)["Predicted serovar"] == ["Choleraesuis"]
    assert rows_of(page)["O"] == ["6,7"]


def test_what_lies_inside_something_has_both_names() -> None:
    results = {
        "qc": {"status": "PASS", "messages": ["few loci", "old database"]},
        "genes": [{"name": "fliC", "identity": 99.5}, {"name": "wzx", "identity": None}],
        "complete": True,
        "empty": {},
        "none": [],
    }

    rows = rows_of(generic_report("SeroPred", "x", results))

    assert rows["qc: status"] == ["PASS"]
    assert rows["qc: messages"] == ["few loci, old database"]
    assert (rows["genes: 1: name"], rows["genes: 2: identity"]) == (["fliC"], ["-"])
    assert rows["genes: 1: identity"] == ["99.5"]
    assert (rows["complete"], rows["empty"], rows["none"]) == (["yes"], ["-"], ["-"])


def test_a_scheme_that_gave_nothing_says_so() -> None:
    assert "It gave no result." in words(generic_report("SeroPred", "x", {}))


def test_a_long_result_is_cut_and_the_rest_is_counted() -> None:
    page = generic_report("x", "y", {f"key {n}": n for n in range(1_203)})

    assert len(rows_of(page)) == 200 + 1
    assert words(page)[-1] == "and 1,003 more"


def test_a_result_of_any_depth_has_a_page() -> None:
    deep: Any = "the end"
    for _ in range(100_000):
        deep = [{"in": deep}]

    page = generic_report("x", "y", {"deep": deep, "list": [[[[[["too deep"]]]]]]})

    assert len(page) < 300


# What others can write into it


def a_typing_full_of(text: str) -> str:
    place = Place(contig=text, start=1, end=2, strand="+")
    calls = (
        LocusCall(locus=text, status=CallStatus.MISSING, places=(place,)),
        novel(text, allele=3),
    )
    st1 = SequenceType(number=1, barcode=text)
    return typing_report(Typing(assembly=text, scheme=text, calls=calls, st=st1))


def a_large_typing_full_of(text: str) -> str:
    calls = [LocusCall(locus=text, status=status) for status in CallStatus for _ in range(20)]
    return typing_report(Typing(assembly=text, scheme=text, calls=tuple(calls)))


def a_result_full_of(text: str) -> str:
    columns = [Column(name="a", label=text)]
    results = {"a": text, f"b{text}": {text: text}, "c": [text, [text]], "d": [text]}
    return generic_report(text, text, results, columns=columns)


PAGES = [a_typing_full_of, a_large_typing_full_of, a_result_full_of]


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize("text", HOSTILE)
def test_what_others_wrote_is_only_words(page: Any, text: str) -> None:
    assert looks(page(text)) == looks(page("x"))


@pytest.mark.parametrize("page", PAGES)
@settings(deadline=None, max_examples=60)
@given(text=nasty_text)
def test_no_text_changes_the_page(page: Any, text: str) -> None:
    assert looks(page(text)) == looks(page("x"))


@pytest.mark.parametrize("page", PAGES)
@settings(deadline=None, max_examples=30)
@given(text=st.text(max_size=20))
def test_a_page_can_be_stored_whatever_it_holds(page: Any, text: str) -> None:
    assert not re.search("[\0\x1b\u202e]", page(f"{text}\ud800\0\x1b\u202e").encode().decode())


@pytest.mark.parametrize("text", ["a_b*c", "R&D &lt; 1", "1,9,12:[f],g|z", "<i>`$1`"])
def test_what_a_program_said_is_shown_as_it_is(text: str) -> None:
    assert rows_of(generic_report("x", "y", {"serovar": text}))["serovar"] == [text]
