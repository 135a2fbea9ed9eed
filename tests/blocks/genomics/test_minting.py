"""New alleles and types get one number each, whoever brings them and however many at once."""

from collections.abc import Callable, Sequence

import pytest
from sqlalchemy import text

from blocks.errors import DatabaseUnavailable, LimsflowError
from blocks.genomics.barcodes import require_barcode
from blocks.genomics.records import CallStatus, Claim, LocusCall, Scheme, Typing
from tests.fakes.entero import (
    LOCI,
    Entero,
    a_place,
    at_once,
    calls_of,
    exact,
    novel,
    only_postgres,
    without,
)

NUMBERS = (
    "SELECT a.number FROM alleles a JOIN loci l ON l.id = a.locus_id"
    " WHERE l.scheme_id = :scheme AND l.name = :locus ORDER BY a.number"
)
NEW = "ATGAAAGGG"


def numbers(entero: Entero, scheme: Scheme, locus: str = "aroC") -> list[int]:
    return [row.number for row in entero.species.rows(NUMBERS, scheme=scheme.id, locus=locus)]


def types(entero: Entero, scheme: Scheme) -> list[int]:
    sql = "SELECT number FROM sequence_types WHERE scheme_id = :id ORDER BY number"
    return [row.number for row in entero.species.rows(sql, id=scheme.id)]


def with_first(call: LocusCall, *others: int) -> list[LocusCall]:
    """Return the calls of the small scheme, with this one of its first locus."""
    return [call, *calls_of(1, *(others or (1, 1)))[1:]]


def typed(
    entero: Entero, scheme: Scheme, calls: Sequence[LocusCall], *, mint: bool = True
) -> Typing:
    claim = entero.given(entero.a_claim(scheme))
    return entero.store.calls.store_typing(claim, calls, mint=mint)


# Alleles


@pytest.mark.parametrize(
    ("min_quality", "minted"), [(93, True), (10, True), (9, False), (0, False), (None, False)]
)
def test_an_allele_is_minted_where_every_base_is_of_quality_10_or_more(
    entero: Entero, min_quality: int | None, *, minted: bool
) -> None:
    scheme = entero.a_scheme()
    typing = typed(entero, scheme, with_first(novel("aroC", NEW, min_quality=min_quality)))

    assert typing.calls[0].allele == (3 if minted else None)
    assert typing.calls[0].status is CallStatus.NOVEL
    assert numbers(entero, scheme) == ([1, 2, 3] if minted else [1, 2])
    assert (typing.st is not None) is minted


def test_an_allele_that_was_minted_is_stored_with_its_sequence_and_for_whom(
    entero: Entero,
) -> None:
    claim = entero.given()
    entero.store.calls.store_typing(claim, with_first(novel("aroC", NEW)))
    sql = "SELECT sequence, minted_for, created FROM alleles WHERE minted_for = :name"
    [row] = entero.species.rows(sql, name=claim.assembly.barcode)

    assert row.sequence == NEW
    assert row.created is not None


@pytest.mark.parametrize(("n_missing", "minted"), [(2, True), (3, False)])
def test_a_genome_that_lacks_most_loci_names_nothing(
    entero: Entero, n_missing: int, *, minted: bool
) -> None:
    loci = ("aroC", "dnaN", "hemD", "hisD")
    scheme = entero.a_scheme({locus: [(1, b"ATGAAACCC")] for locus in loci}, ())
    lacking = [without(locus) for locus in loci[1:]][:n_missing]
    rest = [exact(locus) for locus in loci[1 + n_missing :]]

    typing = typed(entero, scheme, [novel("aroC", NEW), *rest, *lacking])

    assert (typing.calls[0].allele is not None) is minted


def test_an_allele_that_somebody_minted_is_known_to_all_also_from_fasta(entero: Entero) -> None:
    scheme = entero.a_scheme()
    first = typed(entero, scheme, with_first(novel("aroC", NEW)))
    second = typed(entero, scheme, with_first(novel("aroC", NEW, min_quality=None)))

    assert [typing.calls[0].allele for typing in (first, second)] == [3, 3]
    assert first.st
    assert second.st == first.st.model_copy(update={"is_new": False})


@pytest.mark.parametrize(
    "status", [status for status in CallStatus if status not in ("exact", "novel")]
)
def test_what_is_no_whole_allele_gets_no_number(entero: Entero, status: CallStatus) -> None:
    scheme = entero.a_scheme()
    looks_good = {"sequence": NEW, "key": novel("aroC").key, "min_quality": 40}
    typing = typed(entero, scheme, with_first(without("aroC", status, **looks_good)))

    assert numbers(entero, scheme) == [1, 2]
    assert (typing.calls[0].allele, typing.st) == (None, None)


@pytest.mark.parametrize(("first_own_number", "expected"), [(1, 3), (3, 3), (900_000, 900_000)])
def test_own_numbers_begin_where_the_scheme_says(
    entero: Entero, first_own_number: int, expected: int
) -> None:
    scheme = entero.a_scheme(first_own_number=first_own_number)
    found = [
        typed(entero, scheme, with_first(novel("aroC", f"ATG{codon}"))) for codon in ("AAT", "TTT")
    ]

    assert [typing.calls[0].allele for typing in found] == [expected, expected + 1]
    assert [typing.st and typing.st.number for typing in found] == [expected, expected + 1]


def test_the_next_number_follows_the_highest_that_a_database_can_load(entero: Entero) -> None:
    scheme = entero.a_scheme({"aroC": ((2**31 - 1, b"ATG"),)}, ())

    assert typed(entero, scheme, [novel("aroC", NEW)]).calls[0].allele == 2**31


def test_each_locus_counts_for_itself(entero: Entero) -> None:
    scheme = entero.a_scheme()
    typing = typed(entero, scheme, [novel("aroC"), novel("dnaN"), exact("hemD", 2)])

    assert [call.allele for call in typing.calls] == [3, 3, 2]
    assert entero.store.schemes.profile(scheme.id, typing.st.number if typing.st else 0) == (
        *(3, 3, 2),
    )


def test_a_scheme_of_many_loci_gets_all_its_new_alleles(entero: Entero) -> None:
    loci = {f"locus_{number}": ((1, b"ATG"),) for number in range(600)}
    scheme = entero.a_scheme(loci, ())
    typing = typed(entero, scheme, [novel(locus) for locus in loci])
    again = typed(entero, scheme, [novel(locus) for locus in loci])

    assert {call.allele for call in typing.calls} == {2}
    assert again.calls == typing.calls
    assert len(list(entero.store.schemes.alleles(scheme.id))) == 1_200


def test_nothing_is_minted_where_nothing_may_be(entero: Entero) -> None:
    scheme = entero.a_scheme()
    unknown = typed(entero, scheme, with_first(novel("aroC")), mint=False)
    new_profile = typed(entero, scheme, calls_of(2, 2, 2), mint=False)
    known = typed(entero, scheme, calls_of(2, 1, 2), mint=False)

    assert (unknown.calls[0].allele, unknown.st, new_profile.st) == (None, None, None)
    assert known.st
    assert known.st.number == 2
    assert (numbers(entero, scheme), types(entero, scheme)) == ([1, 2], [1, 2])


# Sequence types


def test_a_new_combination_of_known_alleles_is_a_new_type(entero: Entero) -> None:
    scheme = entero.a_scheme()
    first, again = (typed(entero, scheme, calls_of(2, 2, 1)).st for _ in range(2))

    assert first
    assert again
    assert (first.number, first.is_new) == (3, True)
    assert (again.number, again.barcode, again.is_new) == (3, first.barcode, False)
    assert require_barcode(first.barcode, "ST").startswith("SAL_")
    assert entero.store.schemes.type_of(scheme.id, (2, 2, 1)) == (3, first.barcode)


def test_a_known_profile_has_its_type(entero: Entero) -> None:
    scheme = entero.a_scheme()
    st = typed(entero, scheme, calls_of(2, 1, 2)).st

    assert st
    assert (st.number, st.is_new) == (2, False)


def test_a_new_allele_that_may_not_be_minted_gives_no_type(entero: Entero) -> None:
    scheme = entero.a_scheme(max_missing=1.0)
    typing = typed(entero, scheme, with_first(novel("aroC", min_quality=9)))

    assert typing.st is None
    assert types(entero, scheme) == [1, 2]


@pytest.mark.parametrize(
    ("n_missing", "has_type"), [(0, True), (28, True), (29, True), (30, False), (100, False)]
)
def test_a_type_may_lack_the_share_of_loci_that_its_scheme_allows(
    entero: Entero, n_missing: int, *, has_type: bool
) -> None:
    loci = {f"locus_{number}": ((1, b"ATG"),) for number in range(100)}
    scheme = entero.a_scheme(loci, (), max_missing=0.29)
    calls = [
        without(locus) if place < n_missing else exact(locus) for place, locus in enumerate(loci)
    ]
    st = typed(entero, scheme, calls).st

    assert (st is not None) is has_type
    if st:
        assert entero.store.schemes.profile(scheme.id, st.number).count(0) == n_missing


@pytest.mark.parametrize("status", [CallStatus.MISSING, CallStatus.DUPLICATED])
def test_a_locus_without_use_is_0_in_the_profile(entero: Entero, status: CallStatus) -> None:
    scheme = entero.a_scheme(max_missing=0.34)
    st = typed(entero, scheme, with_first(without("aroC", status), 2, 2)).st

    assert st
    assert entero.store.schemes.profile(scheme.id, st.number) == (0, 2, 2)


def test_a_scheme_of_seven_genes_lacks_none(entero: Entero) -> None:
    scheme = entero.a_scheme()

    assert typed(entero, scheme, with_first(without("aroC"))).st is None


def test_a_scheme_without_loci_has_no_types(entero: Entero) -> None:
    scheme = entero.a_scheme({}, ())

    assert typed(entero, scheme, []).st is None
    assert types(entero, scheme) == []


# Many at once


def genomes_at_once(entero: Entero, scheme: Scheme, calls: list[LocusCall]) -> list[Typing]:
    """Store the same calls for many genomes at the same moment: 50 on PostgreSQL."""
    n_genomes = 50 if entero.is_postgres else 12
    claims = [entero.given(entero.a_claim(scheme)) for _ in range(n_genomes)]
    with entero.calls_with(n_genomes) as store:
        return at_once([lambda claim=claim: store.store_typing(claim, calls) for claim in claims])


def test_many_genomes_with_the_same_new_alleles_mint_one_of_each_and_one_type(
    entero: Entero,
) -> None:
    scheme = entero.a_scheme()
    typings = genomes_at_once(entero, scheme, [novel("aroC"), novel("dnaN"), exact("hemD", 2)])

    assert {tuple(call.allele for call in typing.calls) for typing in typings} == {(3, 3, 2)}
    assert {typing.st.number for typing in typings if typing.st} == {3}
    assert [typing.st.is_new for typing in typings if typing.st].count(True) == 1
    assert len({typing.st.barcode for typing in typings if typing.st}) == 1
    assert (numbers(entero, scheme), types(entero, scheme)) == ([1, 2, 3], [1, 2, 3])
    sql = "SELECT DISTINCT status, st_barcode FROM assembly_lookup WHERE scheme_id = :id"
    assert entero.species.rows(sql, id=scheme.id) == [
        ("COMPLETE", typings[0].st.barcode if typings[0].st else "")
    ]


def test_many_genomes_with_the_same_new_profile_mint_one_type(entero: Entero) -> None:
    scheme = entero.a_scheme()
    typings = genomes_at_once(entero, scheme, calls_of(2, 2, 2))

    assert {typing.st.number for typing in typings if typing.st} == {3}
    assert [typing.st.is_new for typing in typings if typing.st].count(True) == 1
    assert types(entero, scheme) == [1, 2, 3]


def test_genomes_with_different_new_alleles_get_a_number_each_without_a_gap(
    entero: Entero,
) -> None:
    scheme = entero.a_scheme()
    claims = [entero.given(entero.a_claim(scheme)) for _ in range(12)]

    def type_one(number: int) -> Typing:
        call = novel("aroC", f"ATG{number:b}".replace("0", "A").replace("1", "T"))
        return entero.store.calls.store_typing(claims[number], with_first(call))

    typings = at_once([lambda number=number: type_one(number) for number in range(12)])

    assert sorted(typing.calls[0].allele or 0 for typing in typings) == list(range(3, 15))
    assert sorted(typing.st.number for typing in typings if typing.st) == list(range(3, 15))
    assert numbers(entero, scheme) == list(range(1, 15))


def test_two_schemes_that_mint_at_once_do_not_disturb_each_other(entero: Entero) -> None:
    schemes = [entero.a_scheme() for _ in range(2)]
    claims = [entero.given(entero.a_claim(scheme)) for scheme in schemes * 6]
    new = [novel("aroC"), novel("dnaN"), novel("hemD")]
    typings = at_once(
        [lambda claim=claim: entero.store.calls.store_typing(claim, new) for claim in claims]
    )
    barcodes = {typing.scheme: typing.st.barcode for typing in typings if typing.st}

    assert {typing.st.number for typing in typings if typing.st} == {3}
    assert len(barcodes) == len(set(barcodes.values())) == 2
    for scheme in schemes:
        assert [numbers(entero, scheme, locus) for locus in LOCI] == [[1, 2, 3]] * 3
        assert types(entero, scheme) == [1, 2, 3]


def test_a_scheme_may_be_loaded_while_genomes_mint(entero: Entero) -> None:
    scheme = entero.a_scheme(first_own_number=500)
    claims = [entero.given(entero.a_claim(scheme)) for _ in range(6)]
    more = LOCI | {"aroC": (*LOCI["aroC"], (3, b"ATGTTTCCC"))}

    def type_one(claim: Claim) -> object:
        return entero.store.calls.store_typing(claim, with_first(novel("aroC")))

    doings: list[Callable[[], object]] = [lambda claim=claim: type_one(claim) for claim in claims]
    at_once([lambda: entero.load(scheme.description, more, first_own_number=500), *doings])

    assert numbers(entero, scheme) == [1, 2, 3, 500]


# Errors


def everything(entero: Entero, scheme: Scheme) -> tuple[object, ...]:
    tables = ("alleles", "sequence_types", "locus_positions", "assembly_lookup", "scheme_calls")
    rows = [entero.species.rows(f"SELECT * FROM {table} ORDER BY 1, 2, 3") for table in tables]
    return (*map(tuple, rows), numbers(entero, scheme))


BROKEN: dict[str, tuple[str, str]] = {
    "positions": ("locus_positions", "INSERT"),
    "types": ("sequence_types", "INSERT"),
    "the site's row": ("assembly_lookup", "UPDATE"),
}


@pytest.mark.parametrize(("table", "event"), BROKEN.values(), ids=BROKEN)
def test_an_error_in_the_middle_leaves_nothing_behind(
    entero: Entero, table: str, event: str
) -> None:
    claim = entero.given()
    calls = [novel("aroC", places=(a_place(),)), novel("dnaN"), exact("hemD", 2)]
    before = everything(entero, claim.scheme)
    refuse(entero, table, event)
    with pytest.raises(Exception, match="out of order"):
        entero.store.calls.store_typing(claim, calls)
    after = everything(entero, claim.scheme)
    allow(entero, table)

    assert after == before
    assert entero.store.calls.store_typing(claim, calls).calls[0].allele == 3


def refuse(entero: Entero, table: str, event: str) -> None:
    """Let a table refuse what is written to it."""
    if entero.is_postgres:
        entero.species.change(
            "CREATE OR REPLACE FUNCTION refuse() RETURNS trigger AS"
            " $$ BEGIN RAISE EXCEPTION 'out of order'; END $$ LANGUAGE plpgsql"
        )
        action = "EXECUTE FUNCTION refuse()"
    else:
        action = "BEGIN SELECT RAISE(ABORT, 'out of order'); END"
    entero.species.change(f"CREATE TRIGGER broken BEFORE {event} ON {table} FOR EACH ROW {action}")


def allow(entero: Entero, table: str) -> None:
    entero.species.change(f"DROP TRIGGER broken{' ON ' + table if entero.is_postgres else ''}")


@only_postgres
def test_who_waits_too_long_for_the_scheme_tries_again_and_mints_then(entero: Entero) -> None:
    claim = entero.given()
    before = everything(entero, claim.scheme)
    with (
        entero.calls_with(1, options="-c lock_timeout=100") as store,
        entero.species.engine.begin() as other,
    ):
        other.execute(text("SELECT 1 FROM schemes FOR NO KEY UPDATE"))
        with pytest.raises(DatabaseUnavailable, match="lock timeout"):
            store.store_typing(claim, with_first(novel("aroC")))
    after = everything(entero, claim.scheme)

    assert after == before
    assert entero.store.calls.store_typing(claim, with_first(novel("aroC"))).calls[0].allele == 3


def test_a_place_that_no_column_holds_is_refused_and_nothing_is_minted(entero: Entero) -> None:
    claim = entero.given()
    before = everything(entero, claim.scheme)
    far = a_place(2**63, contig="c")
    with pytest.raises(LimsflowError, match="the database cannot hold a value"):
        entero.store.calls.store_typing(claim, with_first(novel("aroC", places=(far,))))

    assert everything(entero, claim.scheme) == before
