"""PubMLST gives our own alleles and types a number: it is theirs wherever the first was written."""

import json
import threading
from collections.abc import Sequence
from typing import Any

import pytest
from sqlalchemy import text

from blocks.errors import DatabaseUnavailable, InconsistentInput
from blocks.genomics import scheme_rows
from blocks.genomics.gff import find_in_gff
from blocks.genomics.records import CallStatus, Claim, LocusCall, Profile, Scheme, Typing
from blocks.genomics.renumbering import Renumbered
from blocks.genomics.results import CallStore
from tests.fakes.entero import (
    LOCI,
    PROFILES,
    Entero,
    Loci,
    a_place,
    at_once,
    calls_of,
    exact,
    novel,
    only_postgres,
    without,
)

NEW, OTHER = b"ATGAAAGGG", b"ATGTTTGGG"
OWN = 1_000


def typed(entero: Entero, scheme: Scheme, calls: Sequence[LocusCall]) -> tuple[Claim, Typing]:
    claim = entero.given(entero.a_claim(scheme))
    return claim, entero.store.calls.store_typing(claim, calls)


def with_first(call: LocusCall, *others: int) -> list[LocusCall]:
    return [call, *calls_of(1, *(others or (1, 1)))[1:]]


def a_new(sequence: bytes = NEW, locus: str = "aroC") -> LocusCall:
    return novel(locus, sequence.decode(), places=(a_place(),))


def later(*more: tuple[int, bytes], locus: str = "aroC") -> Loci:
    """Return the small scheme with more alleles of a locus."""
    return LOCI | {locus: (*LOCI[locus], *more)}


def numbers(entero: Entero, scheme: Scheme, locus: str = "aroC") -> dict[int, str]:
    sql = (
        "SELECT a.number, a.sequence FROM alleles a JOIN loci l ON l.id = a.locus_id"
        " WHERE l.scheme_id = :scheme AND l.name = :locus"
    )
    rows = entero.species.rows(sql, scheme=scheme.id, locus=locus)
    return {row.number: row.sequence for row in rows}


def results(entero: Entero, claim: Claim) -> dict[str, Any]:
    return json.loads(entero.lookup(claim).other_data)["results"]


def test_our_allele_takes_the_number_that_it_is_given_wherever_it_is_named(
    entero: Entero,
) -> None:
    scheme = entero.a_scheme(first_own_number=OWN)
    claim, before = typed(entero, scheme, with_first(a_new(), 2, 2))
    again, _ = typed(entero, scheme, with_first(a_new(), 1, 1))
    added = entero.added(scheme.description, later((3, OTHER), (4, NEW)), first_own_number=OWN)

    st = before.st
    assert st
    assert (before.calls[0].allele, st.number) == (OWN, OWN)
    assert (added.alleles, added.types) == (1, 0)
    assert added.renumbered == (Renumbered(locus="aroC", before=OWN, now=4),)
    assert numbers(entero, scheme) == {
        1: "ATGAAACCC", 2: "ATGAAACCT", 3: OTHER.decode(), 4: NEW.decode(),
    }  # fmt: skip
    assert entero.store.schemes.profile(scheme.id, OWN) == (4, 2, 2)
    assert entero.store.schemes.type_of(scheme.id, (4, 2, 2)) == (OWN, st.barcode)
    assert entero.store.schemes.type_of(scheme.id, (OWN, 2, 2)) is None
    for one in (claim, again):
        found = entero.store.calls.positions(scheme.id, "aroC", [one.assembly.id])
        [place] = found[one.assembly.id]
        assert place.allele == 4
        assert find_in_gff(entero.lookup(one).annotation, "aroC") == [place]
        assert results(entero, one)["alleles"]["aroC"] == 4
    assert results(entero, claim)["ST"] == OWN
    assert entero.lookup(claim).st_barcode == st.barcode
    assert entero.store.schemes.scheme(scheme.description).version == scheme.version + 1


def test_what_is_renumbered_stays_so_and_is_renumbered_once(entero: Entero) -> None:
    scheme = entero.a_scheme(first_own_number=OWN)
    typed(entero, scheme, with_first(a_new()))
    newer = later((4, NEW))
    counts = [entero.added(scheme.description, newer, first_own_number=OWN) for _ in range(2)]
    _, after = typed(entero, scheme, with_first(a_new()))
    _, next_new = typed(entero, scheme, with_first(a_new(OTHER)))

    assert [len(one.renumbered) for one in counts] == [1, 0]
    assert after.calls[0].allele == 4
    assert (after.st and after.st.number, next_new.calls[0].allele) == (OWN, OWN)
    assert entero.store.schemes.scheme(scheme.description).version == scheme.version + 1


def test_other_loci_with_the_same_number_keep_it(entero: Entero) -> None:
    scheme = entero.a_scheme(first_own_number=OWN)
    claim, _ = typed(entero, scheme, [a_new(), a_new(locus="dnaN"), exact("hemD")])
    entero.added(scheme.description, later((4, NEW)), first_own_number=OWN)

    assert entero.store.schemes.profile(scheme.id, OWN) == (4, OWN, 1)
    assert results(entero, claim)["alleles"] == {"aroC": 4, "dnaN": OWN, "hemD": 1}
    found = entero.store.calls.positions(scheme.id, "dnaN", [claim.assembly.id])
    assert [place.allele for place in found[claim.assembly.id]] == [OWN]


def test_two_of_ours_may_change_places(entero: Entero) -> None:
    scheme = entero.a_scheme(first_own_number=OWN)
    first, _ = typed(entero, scheme, with_first(a_new(NEW)))
    second, _ = typed(entero, scheme, with_first(a_new(OTHER)))
    newer = later((OWN, OTHER), (OWN + 1, NEW))
    added = entero.added(scheme.description, newer, first_own_number=OWN)

    assert {(one.before, one.now) for one in added.renumbered} == {(OWN, OWN + 1), (OWN + 1, OWN)}
    assert numbers(entero, scheme)[OWN] == OTHER.decode()
    assert [entero.store.schemes.profile(scheme.id, OWN + n)[0] for n in (0, 1)] == [OWN + 1, OWN]
    assert [results(entero, one)["alleles"]["aroC"] for one in (first, second)] == [OWN + 1, OWN]


def test_a_number_of_ours_that_is_given_to_another_is_free_if_ours_gets_one_too(
    entero: Entero,
) -> None:
    scheme = entero.a_scheme()
    typed(entero, scheme, with_first(a_new()))
    added = entero.added(scheme.description, later((3, OTHER), (4, NEW)))

    assert (added.alleles, added.renumbered) == (1, (Renumbered(locus="aroC", before=3, now=4),))
    assert numbers(entero, scheme) == {
        1: "ATGAAACCC", 2: "ATGAAACCT", 3: OTHER.decode(), 4: NEW.decode(),
    }  # fmt: skip


def test_our_type_takes_the_number_that_its_profile_is_given(entero: Entero) -> None:
    scheme = entero.a_scheme(first_own_number=OWN)
    claim, before = typed(entero, scheme, calls_of(2, 2, 2))
    given = Profile(7, (2, 2, 2), {"clonal_complex": "CC9"})
    added = entero.added(scheme.description, None, (*PROFILES, given), first_own_number=OWN)

    assert (added.alleles, added.types) == (0, 0)
    assert added.renumbered == (Renumbered(locus=None, before=OWN, now=7),)
    assert before.st
    assert entero.store.schemes.type_of(scheme.id, (2, 2, 2)) == (7, before.st.barcode)
    assert (entero.lookup(claim).st_barcode, results(entero, claim)["ST"]) == (before.st.barcode, 7)
    sql = "SELECT extra FROM sequence_types WHERE barcode = :barcode AND scheme_id = :id"
    extra = entero.species.value(sql, barcode=before.st.barcode, id=scheme.id)
    assert json.loads(extra) == {"clonal_complex": "CC9"}
    assert entero.store.schemes.scheme(scheme.description).version == scheme.version + 1


def test_a_type_with_our_allele_takes_the_number_that_both_are_given(entero: Entero) -> None:
    scheme = entero.a_scheme(first_own_number=OWN)
    claim, before = typed(entero, scheme, with_first(a_new(), 2, 2))
    profiles = (*PROFILES, Profile(3, (4, 1, 1)), Profile(4, (4, 2, 2)))
    added = entero.added(scheme.description, later((4, NEW)), profiles, first_own_number=OWN)

    assert (added.alleles, added.types) == (0, 1)
    assert added.renumbered == (
        Renumbered(locus="aroC", before=OWN, now=4), Renumbered(locus=None, before=OWN, now=4),
    )  # fmt: skip
    assert before.st
    assert entero.store.schemes.type_of(scheme.id, (4, 2, 2)) == (4, before.st.barcode)
    assert results(entero, claim) == {
        "ST": 4, "loci": {"novel": 1, "exact": 2}, "alleles": {"aroC": 4, "dnaN": 2, "hemD": 2},
    }  # fmt: skip


def everything(entero: Entero) -> list[object]:
    tables = ("alleles", "sequence_types", "locus_positions", "assembly_lookup", "schemes")
    return [entero.species.rows(f"SELECT * FROM {table} ORDER BY 1, 2, 3") for table in tables]


CLASHES: dict[str, tuple[Loci, tuple[Profile, ...], str]] = {
    "our number for another sequence": (later((OWN, OTHER)), (), f"allele aroC_{OWN} is another"),
    "our sequence under a number that is taken": (
        LOCI | {"aroC": ((1, b"ATGAAACCC"), (2, NEW))}, (), "allele aroC_2 is another",
    ),
    "a sequence of theirs under another number": (
        LOCI | {"aroC": ((1, b"ATGAAACCC"), (9, b"ATGAAACCT"))}, (), "allele aroC_9 is another",
    ),
    "our type's number for another profile": (
        LOCI, (Profile(OWN, (2, 2, 1)),), f"type {OWN} has another profile",
    ),
    "a type of theirs under another number": (
        LOCI, (Profile(9, (1, 1, 1)),), "type 9 is type 1 in the database",
    ),
    "after alleles were renumbered": (
        later((4, NEW)), (Profile(1, (2, 2, 2)),), "type 1 has another profile",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("loci", "profiles", "reason"), CLASHES.values(), ids=CLASHES)
def test_what_clashes_with_more_than_a_number_of_ours_is_refused_and_changes_nothing(
    entero: Entero, loci: Loci, profiles: tuple[Profile, ...], reason: str
) -> None:
    scheme = entero.a_scheme(first_own_number=OWN)
    typed(entero, scheme, with_first(a_new()))
    before = everything(entero)
    with pytest.raises(InconsistentInput, match=reason):
        entero.added(scheme.description, loci, profiles, first_own_number=OWN)

    assert everything(entero) == before


def test_what_was_minted_below_our_numbers_is_not_ours_to_renumber(entero: Entero) -> None:
    scheme = entero.a_scheme()
    typed(entero, scheme, with_first(a_new(), 2, 2))

    with pytest.raises(InconsistentInput, match=r"allele aroC_4 .* has another number there"):
        entero.added(scheme.description, later((4, NEW)), first_own_number=OWN)
    with pytest.raises(InconsistentInput, match="type 9 is type 3 in the database"):
        entero.added(
            scheme.description, later((3, NEW)), (Profile(9, (3, 2, 2)),), first_own_number=OWN
        )


# Typings that were begun before


def test_a_typing_that_was_begun_before_is_stored_with_the_numbers_of_today(
    entero: Entero,
) -> None:
    scheme = entero.a_scheme(first_own_number=OWN)
    typed(entero, scheme, with_first(a_new(), 2, 2))
    late = entero.given(entero.a_claim(scheme))
    key = a_new().key
    entero.added(scheme.description, later((4, NEW)), first_own_number=OWN)
    calls = with_first(exact("aroC", OWN, key=key, places=(a_place(),)), 2, 2)
    typing = entero.store.calls.store_typing(late, calls)

    assert (typing.calls[0].allele, typing.calls[0].status) == (4, CallStatus.EXACT)
    assert typing.st
    assert (typing.st.number, typing.st.is_new) == (OWN, False)
    assert results(entero, late)["alleles"]["aroC"] == 4


@only_postgres
@pytest.mark.parametrize("others", [(2, 2), (1, 2)], ids=["of a known type", "of a new type"])
def test_a_typing_that_is_stored_while_numbers_change_is_tried_again(
    entero: Entero, others: tuple[int, int]
) -> None:
    scheme = entero.a_scheme(first_own_number=OWN)
    typed(entero, scheme, with_first(a_new(), 2, 2))
    late = entero.given(entero.a_claim(scheme))
    calls = with_first(exact("aroC", OWN, key=a_new().key, places=(a_place(),)), *others)
    said = list[Exception]()

    def store() -> None:
        try:
            entero.store.calls.store_typing(late, calls)
        except DatabaseUnavailable as error:
            said.append(error)

    with entero.species.engine.begin() as loading:
        loading.execute(text("SELECT 1 FROM schemes WHERE id = :id FOR UPDATE"), {"id": scheme.id})
        storing = threading.Thread(target=store)
        storing.start()
        waiting = "SELECT COUNT(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
        while not entero.system.value(waiting):
            assert storing.is_alive()
        loading.execute(
            text(
                "UPDATE alleles SET number = 4 WHERE number = :own"
                " AND locus_id IN (SELECT id FROM loci WHERE scheme_id = :id)"
            ),
            {"own": OWN, "id": scheme.id},
        )
        loading.execute(text("UPDATE schemes SET version = 2 WHERE id = :id"), {"id": scheme.id})
    storing.join(30)

    assert "alleles have new numbers" in str(said)
    assert entero.store.calls.store_typing(late, calls).calls[0].allele == 4


@only_postgres
def test_numbers_do_not_change_under_a_typing_that_is_being_stored(entero: Entero) -> None:
    scheme = entero.a_scheme(first_own_number=OWN)
    typed(entero, scheme, with_first(a_new(), 2, 2))
    done = list[object]()

    def load() -> None:
        done.append(entero.added(scheme.description, later((4, NEW)), first_own_number=OWN))

    with entero.species.engine.begin() as storing:  # as store_typing holds it
        storing.execute(
            text("SELECT 1 FROM schemes WHERE id = :id FOR KEY SHARE"), {"id": scheme.id}
        )
        loading = threading.Thread(target=load)
        loading.start()
        waiting = "SELECT COUNT(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
        while not entero.system.value(waiting):
            assert loading.is_alive()
        before = list(done)
    loading.join(30)

    assert (before, len(done)) == ([], 1)


def test_whoever_stores_while_numbers_change_has_the_new_ones_in_the_end(entero: Entero) -> None:
    scheme = entero.a_scheme(first_own_number=OWN)
    typed(entero, scheme, with_first(a_new(), 2, 2))
    claims = [entero.given(entero.a_claim(scheme)) for _ in range(12)]
    key, profiles = a_new().key, (*PROFILES, Profile(9, (4, 2, 2)))

    def store(calls: CallStore, number: int) -> object:
        others = ((2, 2), (1, 2), (2, 1))[number % 3]  # a known type, and two that are new
        found = with_first(exact("aroC", OWN, key=key, places=(a_place(),)), *others)
        for _ in range(20):
            try:
                return calls.store_typing(claims[number], found)
            except DatabaseUnavailable:
                continue
        raise AssertionError(number)

    def load() -> object:
        newer = later((4, NEW))
        return entero.added(scheme.description, newer, profiles, first_own_number=OWN)

    with entero.calls_with(len(claims)) as calls:
        doings = [lambda number=number: store(calls, number) for number in range(len(claims))]
        at_once([*doings[:6], load, *doings[6:]])

    ids = [claim.assembly.id for claim in claims]
    found = entero.store.calls.positions(scheme.id, "aroC", ids)
    assert {place.allele for places in found.values() for place in places} == {4}
    assert len(found) == len(claims)
    assert {results(entero, claim)["alleles"]["aroC"] for claim in claims} == {4}
    assert {results(entero, claim)["ST"] for claim in claims[::3]} == {9}
    sql = "SELECT number, profile FROM sequence_types WHERE scheme_id = :id"
    types = {row.number: row.profile for row in entero.species.rows(sql, id=scheme.id)}
    assert sorted(types.values()) == ["1,1,1", "2,1,2", "4,1,2", "4,2,1", "4,2,2"]
    for claim in claims:
        number = results(entero, claim)["ST"]
        profile = tuple(int(code) for code in types[number].split(","))
        stored = entero.store.schemes.type_of(scheme.id, profile)
        assert stored == (number, entero.lookup(claim).st_barcode)


def test_more_genomes_than_are_read_at_once_are_all_written(
    entero: Entero, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scheme_rows, "ASSEMBLIES", 2)
    monkeypatch.setattr(scheme_rows, "FEW", 1)
    scheme = entero.a_scheme(first_own_number=OWN)
    new = [NEW, OTHER, NEW, OTHER, NEW]
    claims = [typed(entero, scheme, with_first(a_new(one)))[0] for one in new]
    newer, profiles = later((4, NEW), (5, OTHER)), (Profile(6, (4, 1, 1)), Profile(7, (5, 1, 1)))
    added = entero.added(scheme.description, newer, profiles, first_own_number=OWN)

    assert len(added.renumbered) == 4
    assert [results(entero, claim)["ST"] for claim in claims] == [6, 7, 6, 7, 6]
    assert [results(entero, claim)["alleles"]["aroC"] for claim in claims] == [4, 5, 4, 5, 4]
    assert [find_in_gff(entero.lookup(claim).annotation, "aroC")[0].allele for claim in claims] == [
        4,
        5,
        4,
        5,
        4,
    ]
    assert entero.species.count("locus_positions", scheme_id=scheme.id, allele=OWN) == 0


def test_a_locus_of_no_use_that_was_found_keeps_its_place(entero: Entero) -> None:
    scheme = entero.a_scheme(first_own_number=OWN, max_missing=0.34)
    typed(entero, scheme, with_first(a_new()))
    split = without("aroC", CallStatus.FRAGMENTED, places=(a_place(),))
    claim, before = typed(entero, scheme, with_first(split, 2, 2))
    entero.added(scheme.description, later((4, NEW)), first_own_number=OWN)

    found = entero.store.calls.positions(scheme.id, "aroC", [claim.assembly.id])
    assert [place.allele for place in found[claim.assembly.id]] == [None]
    assert before.st
    assert entero.store.schemes.profile(scheme.id, before.st.number) == (0, 2, 2)
