"""Which profile a genome has: what is missing is 0, what is merely of no use is not."""

import pytest

from blocks.genomics.profiles import may_be_new, profile_of, type_among
from blocks.genomics.records import CallStatus, LocusCall, Profile
from tests.fakes.entero import Entero, exact, novel, without
from tests.fakes.entero import calls_of as known

NULL = Profile(99, (0, 1, 1))  # a type whose locus is truly not there
OF_NO_USE = [
    status for status in CallStatus if status not in (CallStatus.EXACT, CallStatus.NOVEL, "missing")
]


def with_first(call: LocusCall) -> list[LocusCall]:
    return [call, exact("dnaN"), exact("hemD")]


def test_a_missing_locus_is_0_however_many_are_missing() -> None:
    calls = [without("aroC"), without("dnaN"), exact("hemD", 2)]

    assert profile_of(calls, 0.0) == (0, 0, 2)


@pytest.mark.parametrize("status", OF_NO_USE)
def test_a_locus_of_no_use_is_no_null_allele(status: CallStatus) -> None:
    calls = with_first(without("aroC", status))

    assert profile_of(calls, 0.0) is None
    assert profile_of(calls, 0.33) is None


@pytest.mark.parametrize("status", OF_NO_USE)
def test_a_scheme_that_allows_it_counts_a_locus_of_no_use_as_one_without_allele(
    status: CallStatus,
) -> None:
    assert profile_of(with_first(without("aroC", status)), 0.34) == (0, 1, 1)


def test_missing_loci_and_those_of_no_use_count_together() -> None:
    calls = [without("aroC", CallStatus.FRAGMENTED), without("dnaN"), exact("hemD")]

    assert (profile_of(calls, 0.34), profile_of(calls, 0.67)) == (None, (0, 0, 1))


def test_a_novel_allele_without_a_number_has_no_profile() -> None:
    assert profile_of(with_first(novel("aroC")), 1.0) is None
    assert profile_of(with_first(novel("aroC", allele=7)), 0.0) == (7, 1, 1)


def test_nothing_has_no_profile() -> None:
    assert profile_of([], 1.0) is None


def test_a_new_type_lacks_no_more_than_its_scheme_allows() -> None:
    assert (may_be_new((0, 1, 1), 0.33), may_be_new((0, 1, 1), 0.34)) == (False, True)


def test_a_type_is_found_among_profiles_by_its_profile() -> None:
    types = [Profile(1, (1, 1, 1)), NULL]

    assert [type_among(types, one) for one in ((1, 1, 1), (0, 1, 1), (2, 1, 1), None)] == [
        *(1, 99, None, None)
    ]


# The same in a database


def types(entero: Entero) -> int:
    return entero.species.count("sequence_types")


@pytest.mark.parametrize("mint", [True, False])
def test_a_genome_truly_without_a_locus_has_the_known_type_that_lacks_it(
    entero: Entero, *, mint: bool
) -> None:
    scheme = entero.a_scheme(None, (Profile(1, (1, 1, 1)), NULL))
    before = types(entero)
    claim = entero.given(entero.a_claim(scheme))
    typing = entero.store.calls.store_typing(claim, with_first(without("aroC")), mint=mint)

    assert typing.st
    assert (typing.st.number, typing.st.is_new, types(entero)) == (99, False, before)
    assert entero.lookup(claim).st_barcode == typing.st.barcode


@pytest.mark.parametrize("status", OF_NO_USE)
def test_a_genome_whose_locus_is_of_no_use_does_not_have_it(
    entero: Entero, status: CallStatus
) -> None:
    scheme = entero.a_scheme(None, (Profile(1, (1, 1, 1)), NULL))
    before = types(entero)
    claim = entero.given(entero.a_claim(scheme))
    typing = entero.store.calls.store_typing(claim, with_first(without("aroC", status)))

    assert (typing.st, types(entero)) == (None, before)


def test_a_profile_that_lacks_too_much_and_is_not_known_is_no_type(entero: Entero) -> None:
    scheme = entero.a_scheme(None, (NULL,))
    before = types(entero)
    claim = entero.given(entero.a_claim(scheme))
    calls = [without("aroC"), *known(1, 1, 2)[1:]]

    assert entero.store.calls.store_typing(claim, calls).st is None
    assert types(entero) == before
