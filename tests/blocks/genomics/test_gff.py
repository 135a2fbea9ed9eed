"""Positions: the table and the text of the old site are the same, whatever names things have."""

import re
from collections.abc import Iterator

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from blocks.errors import InconsistentInput
from blocks.genomics.gff import HEADER, find_in_gff, gff_text, positions_of
from blocks.genomics.records import CallStatus, LocusCall, LocusPosition, Place
from tests.fakes.entero import Entero, a_place, calls_of, exact, novel, without

HOSTILE = "#>;=,&%\t\n\r\x0b\x0c\x1c\x85\u2028\u2029 '\"\\.ID=locus:/()[]|~+é中\U0001f9a0"
NAMES = st.text(
    st.sampled_from(HOSTILE) | st.characters(exclude_categories=["Cs"], exclude_characters="\0"),
    max_size=12,
)
IN_GFF3 = re.compile(r"[a-zA-Z0-9.:^*$@!+_?\-|~%]*")  # its specification, column 1; ~ does no harm


@st.composite
def places(draw: st.DrawFn) -> Place:
    start = draw(st.integers(0, 10_000_000))
    end = start + draw(st.integers(1, 3_000))
    return Place(contig=draw(NAMES), start=start, end=end, strand=draw(st.sampled_from("+-")))


@st.composite
def calls(draw: st.DrawFn) -> list[LocusCall]:
    loci = draw(st.lists(NAMES, min_size=1, max_size=3, unique=True))
    return [
        LocusCall(
            locus=locus,
            status=draw(st.sampled_from(CallStatus)),
            allele=draw(st.none() | st.integers(1, 2**40)),
            places=tuple(draw(st.lists(places(), max_size=3))),
        )
        for locus in loci
    ]


def of_locus(found: Iterator[LocusPosition], locus: str) -> list[LocusPosition]:
    return [one for one in found if one.locus == locus]


# The text


def test_a_line_says_where_a_locus_lies_counted_from_one() -> None:
    call = exact("aroC", 7, places=(Place(contig="NODE_1", start=0, end=9, strand="-"),))

    assert gff_text(positions_of([call])) == (
        "##gff-version 3\n"
        "NODE_1\tlimsflow\tgene\t1\t9\t.\t-\t.\tID=aroC.1;locus=aroC;allele=7;status=exact\n"
    )


def test_a_locus_that_is_there_twice_has_two_lines_and_one_that_is_not_has_none() -> None:
    found = [
        without("aroC", CallStatus.DUPLICATED, places=(a_place(5), a_place(80))),
        without("dnaN"),
        novel("hemD", places=(a_place(200, strand="-"),)),
    ]
    text = gff_text(positions_of(found))

    assert [one.copy_number for one in find_in_gff(text, "aroC")] == [1, 2]
    assert [one.place.start for one in find_in_gff(text, "aroC")] == [5, 80]
    assert find_in_gff(text, "dnaN") == find_in_gff(text, "aro") == []
    assert [one.place.strand for one in find_in_gff(text, "hemD")] == ["-"]


EVERY_LETTER = [
    exact(name, 1, places=(a_place(contig=name),)) for name in (*HOSTILE, HOSTILE, "%41", "")
]


@settings(deadline=None)
@given(calls())
@example(EVERY_LETTER)
def test_what_is_written_is_read_back_whatever_the_names_are(found: list[LocusCall]) -> None:
    text = gff_text(positions_of(found))

    for call in found:
        assert find_in_gff(text, call.locus) == of_locus(positions_of(found), call.locus)


@settings(deadline=None)
@given(calls())
@example(EVERY_LETTER)
def test_every_line_is_gff3_whatever_the_names_are(found: list[LocusCall]) -> None:
    header, *lines = gff_text(positions_of(found)).removesuffix("\n").split("\n")

    assert header == HEADER
    assert len(lines) == sum(len(call.places) for call in found)
    for columns in (line.split("\t") for line in lines):
        assert len(columns) == 9
        assert IN_GFF3.fullmatch(columns[0])
        assert all(pair.count("=") == 1 for pair in columns[8].split(";"))


def test_no_position_is_a_header_only() -> None:
    assert gff_text([]) == "##gff-version 3\n"
    assert find_in_gff("", "aroC") == find_in_gff("##gff-version 3\n\n", "aroC") == []


@pytest.mark.parametrize(
    "line",
    [
        "aroC",
        "c\tlimsflow\tgene\t1\t9\t.\t+\t.",
        "c\tlimsflow\tgene\t1\t9\t.\t+\t.\tName=aroC",
        "c\tlimsflow\tgene\tone\t9\t.\t+\t.\tID=aroC.1;locus=aroC;status=exact",
        "c\tlimsflow\tgene\t0\t9\t.\t+\t.\tID=aroC.1;locus=aroC;status=exact",
        "c\tlimsflow\tgene\t1\t9\t.\t+\t.\tID=aroC.1;locus=aroC;status=fine",
        "c\tlimsflow\tgene\t1\t9\t.\t+\t.\tID=aroC;locus=aroC;status=exact",
        "c\tlimsflow\tgene\t1\t9\t.\t+\t.\tID=aroC.1;locus=aroC;status=exact\tmore",
    ],
)
def test_a_line_that_is_not_ours_is_named(line: str) -> None:
    with pytest.raises(InconsistentInput, match="has a line that is not ours"):
        find_in_gff(f"{HEADER}\n{line}\n", "aroC")


# The table


def positions(entero: Entero, scheme_id: int, locus: str, assembly_id: int) -> list[LocusPosition]:
    found = entero.store.calls.positions(scheme_id, locus, [assembly_id])
    return found.get(assembly_id, [])


@settings(max_examples=15, deadline=None)
@given(found=calls())
def test_the_table_and_the_text_say_the_same_whatever_the_names_are(
    entero: Entero, found: list[LocusCall]
) -> None:
    scheme = entero.a_scheme({call.locus: () for call in found}, ())
    claim = entero.given(entero.a_claim(scheme))
    typing = entero.store.calls.store_typing(claim, found)
    text = entero.lookup(claim).annotation

    for call in found:
        in_table = positions(entero, scheme.id, call.locus, claim.assembly.id)
        assert in_table == find_in_gff(text, call.locus)
        assert in_table == of_locus(positions_of(typing.calls), call.locus)


def test_a_new_call_replaces_every_position_of_its_scheme_and_no_other(entero: Entero) -> None:
    claim = entero.given()
    other = entero.given(entero.a_claim(None, claim.assembly))
    twice = without("aroC", CallStatus.DUPLICATED, places=(a_place(1), a_place(50)))
    for one in (claim, other):
        entero.store.calls.store_typing(one, [twice, *calls_of(1, 1, 1)[1:]])
    newer = claim.scheme.model_copy(update={"version": 2})
    again = entero.given(entero.a_claim(newer, claim.assembly))
    entero.store.calls.store_typing(
        again, [exact("aroC", places=(a_place(7),)), *calls_of(1, 1, 1)[1:]]
    )

    assert [
        (one.copy_number, one.place.start, one.status)
        for one in positions(entero, claim.scheme.id, "aroC", claim.assembly.id)
    ] == [(1, 7, CallStatus.EXACT)]
    assert len(positions(entero, other.scheme.id, "aroC", claim.assembly.id)) == 2
    assert len(find_in_gff(entero.lookup(claim).annotation, "aroC")) == 1


def test_a_locus_is_found_on_many_assemblies_in_one_answer(entero: Entero) -> None:
    scheme = entero.a_scheme()
    claims = [entero.given(entero.a_claim(scheme)) for _ in range(3)]
    for start, claim in enumerate(claims[:2]):
        call = exact("aroC", 2, places=(a_place(start),))
        entero.store.calls.store_typing(claim, [call, *calls_of(1, 1, 1)[1:]])
    asked = [*range(10**7, 10**7 + 66_000), *(claim.assembly.id for claim in claims)]
    found = entero.store.calls.positions(scheme.id, "aroC", asked)

    assert {assembly: one[0].place.start for assembly, one in found.items()} == {
        claims[0].assembly.id: 0,
        claims[1].assembly.id: 1,
    }
    assert found[claims[0].assembly.id][0].allele == 2
    assert entero.store.calls.positions(scheme.id, "gyrB", asked[-3:]) == {}
    assert entero.store.calls.positions(scheme.id, "aroC", []) == {}


@pytest.mark.parametrize("name", ["contig " + "x" * 300, "k141_1 flag=1 multi=2.0000 len=512 " * 9])
def test_long_names_are_kept(entero: Entero, name: str) -> None:
    claim = entero.given()
    call = exact("aroC", places=(a_place(contig=name),))
    entero.store.calls.store_typing(claim, [call, *calls_of(1, 1, 1)[1:]])
    [found] = positions(entero, claim.scheme.id, "aroC", claim.assembly.id)

    assert found.place.contig == name


def test_more_copies_than_a_small_integer_counts_are_kept(entero: Entero) -> None:
    claim = entero.given()
    call = exact("aroC", places=(a_place(),))
    entero.store.calls.store_typing(claim, [call, *calls_of(1, 1, 1)[1:]])
    entero.species.change(
        "UPDATE locus_positions SET copy = 40000 WHERE assembly_id = :id", id=claim.assembly.id
    )
    [found] = positions(entero, claim.scheme.id, "aroC", claim.assembly.id)

    assert found.copy_number == 40_000


@pytest.mark.parametrize("contig", ["a\0b", "half a pair \ud83d"])
def test_a_name_that_no_column_holds_is_refused_or_kept_but_never_changed(
    entero: Entero, contig: str
) -> None:
    claim, refusal = entero.given(), ""
    call = exact("aroC", places=(a_place(contig=contig),))
    try:
        entero.store.calls.store_typing(claim, [call, *calls_of(1, 1, 1)[1:]])
    except InconsistentInput as error:
        refusal = str(error)
    kept = [
        one.place.contig for one in positions(entero, claim.scheme.id, "aroC", claim.assembly.id)
    ]

    assert kept == ([] if refusal else [contig])
    assert not refusal or "the database cannot hold a value" in refusal
