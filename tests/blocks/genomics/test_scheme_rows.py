"""The rows of `schemes` and `data_param`: what makes a generic scheme, on both databases."""

import json
import logging
from typing import Any

import pytest

from blocks.errors import InconsistentInput, NoSuchRecord
from blocks.genomics.records import Column, SchemeParam
from tests.fakes.entero import Entero, ids

NO_REPEATS = "".join(chr(0x4E00 + n * 7919 % 20_000) for n in range(5_000))


def a_name() -> str:
    return f"SeroPred_{next(ids)}"


def param_of(entero: Entero, name: str) -> dict[str, Any]:
    sql = "SELECT param FROM schemes WHERE description = :name"
    return json.loads(entero.species.value(sql, name=name))


def an_old_scheme(entero: Entero, param: str | None) -> str:
    name = f"Old_{next(ids)}"
    sql = "INSERT INTO schemes (description, param) VALUES (:name, :param)"
    entero.species.change(sql, name=name, param=param)
    return name


def test_a_generic_scheme_is_two_kinds_of_rows_and_no_code(entero: Entero) -> None:
    name = an_old_scheme(entero, '{"pipeline": "SeroPred", "display": "public", "max_age": 5}')
    for place, (key, label) in enumerate([("O", "O antigen"), ("H", None)]):
        entero.species.change(
            "INSERT INTO data_param (tabname, name, label, datatype, display_order)"
            " VALUES (:tab, :key, :label, 'text', :place)",
            tab=name, key=key, label=label, place=place,
        )  # fmt: skip
    scheme = entero.store.schemes.scheme(name)

    assert (scheme.is_automatic, scheme.is_nomenclature, scheme.loci) == (True, False, ())
    assert (scheme.name, scheme.version) == (name, 1)
    assert entero.store.schemes.columns(name) == [
        Column(name="O", label="O antigen"),
        Column(name="H", label="H"),
    ]


def test_a_scheme_is_saved_with_its_columns_in_order(entero: Entero) -> None:
    name, save = a_name(), entero.store.schemes.save_scheme
    columns = [Column(name=key, label=f"the {key}", datatype="integer") for key in "zam"]
    first = save(name, name="serovar", param=SchemeParam(pipeline="SeroPred"), columns=columns)
    again = save(name, name="serovar", param=SchemeParam(pipeline="SeroPred"), columns=columns[1:])

    assert first == again
    assert entero.store.schemes.columns(name) == columns[1:]
    assert entero.species.count("data_param", tabname=name) == 2


def test_columns_stay_if_none_are_given_and_so_does_the_version(entero: Entero) -> None:
    name, save = a_name(), entero.store.schemes.save_scheme
    save(name, name="x", param=SchemeParam(), columns=[Column(name="a", label="a")], version=4)
    save(name, name="y", param=SchemeParam())
    scheme = entero.store.schemes.scheme(name)

    assert (scheme.version, scheme.name) == (4, "y")
    assert [column.name for column in entero.store.schemes.columns(name)] == ["a"]


def test_what_is_unknown_of_a_column_stays(entero: Entero) -> None:
    name, save = a_name(), entero.store.schemes.save_scheme
    save(name, name="x", param=SchemeParam(), columns=[Column(name="a", label="a")])
    [(old,)] = entero.species.rows("SELECT id FROM data_param WHERE tabname = :t", t=name)
    save(name, name="x", param=SchemeParam(), columns=[Column(name="a", label="b")])

    assert entero.species.rows("SELECT id, label FROM data_param WHERE tabname = :t", t=name) == [
        (old, "b")
    ]


@pytest.mark.parametrize(
    ("param", "automatic"),
    [
        ('{"pipeline": "nomenclature"}', True),
        ('{"display": "none"}', False),
        ('{"pipeline": null}', False),
        ('{"pipeline": ""}', False),
        ("{}", False),
        ("", False),
        (None, False),
        ('"{\\"pipeline\\": \\"SeroPred\\"}"', True),
    ],
)
def test_a_scheme_without_a_pipeline_is_never_called_by_itself(
    entero: Entero, param: str | None, *, automatic: bool
) -> None:
    name = an_old_scheme(entero, param)
    listed = {scheme.description: scheme for scheme in entero.store.schemes.schemes()}

    assert entero.store.schemes.scheme(name).is_automatic is automatic
    assert listed[name].is_automatic is automatic


def test_keys_of_param_that_are_not_ours_stay(entero: Entero) -> None:
    old = {"query_method": "process_st", "nothing": None, "barcode": None, "x": {"y": ["ü"]}}
    name = an_old_scheme(entero, json.dumps(old | {"pipeline": "old", "display": "private"}))
    scheme = entero.store.schemes.scheme(name)
    param = SchemeParam(pipeline="nomenclature", scheme="x")
    entero.store.schemes.save_scheme(name, name="x", param=param)

    assert (scheme.param.model_extra or {})["x"] == {"y": ["ü"]}
    assert (scheme.param.display, scheme.param.barcode) == ("private", None)
    stored = param_of(entero, name)
    assert {key: stored[key] for key in ("query_method", "nothing", "x")} == {
        key: old[key] for key in ("query_method", "nothing", "x")
    }
    assert (stored["pipeline"], stored["display"]) == ("nomenclature", "public")
    assert "barcode" not in stored


def test_a_pipeline_is_taken_away_from_a_scheme_by_saving_it_without(entero: Entero) -> None:
    name = an_old_scheme(entero, '{"pipeline": "SeroPred", "mine": 1}')
    entero.store.schemes.save_scheme(name, name="x", param=SchemeParam())

    assert "pipeline" not in param_of(entero, name)
    assert param_of(entero, name)["mine"] == 1


def test_a_scheme_that_cannot_be_read_does_not_stop_the_others(
    entero: Entero, caplog: pytest.LogCaptureFixture
) -> None:
    broken = [an_old_scheme(entero, param) for param in ('{"max_missing": 7}', "{'a': 1}", "[1]")]
    good = entero.a_scheme()
    with caplog.at_level(logging.WARNING):
        listed = {scheme.description: scheme for scheme in entero.store.schemes.schemes()}
    for name in broken:
        entero.species.change("DELETE FROM schemes WHERE description = :name", name=name)

    assert listed[good.description].is_automatic
    assert [listed[name].is_automatic for name in broken] == [False] * 3
    assert all(f"schemes.param of {name}" in caplog.text for name in broken)


def test_who_asks_for_a_scheme_that_cannot_be_read_is_told_why(entero: Entero) -> None:
    name = an_old_scheme(entero, '{"max_missing": 7}')

    with pytest.raises(InconsistentInput, match=f"schemes.param of {name} cannot be used: .*max_"):
        entero.store.schemes.scheme(name)
    entero.species.change("DELETE FROM schemes WHERE description = :name", name=name)


def test_who_asks_for_a_scheme_that_is_not_there_is_told_which_are(entero: Entero) -> None:
    scheme = entero.a_scheme()

    with pytest.raises(NoSuchRecord, match=rf"no scheme 'MLST'; known: .*{scheme.description}"):
        entero.store.schemes.scheme("MLST")


@pytest.mark.parametrize("name", ["x\0y", NO_REPEATS, "half a pair \ud83d"])
def test_a_name_that_no_column_holds_is_refused_or_kept_but_never_changed(
    entero: Entero, name: str
) -> None:
    refusal = ""
    try:
        entero.store.schemes.save_scheme(name, name="x", param=SchemeParam())
    except InconsistentInput as error:
        refusal = str(error)
    known = [scheme.description for scheme in entero.store.schemes.schemes()]

    assert (name in known) is not ("the database cannot hold a value" in refusal)


def test_names_of_three_hundred_letters_are_kept(entero: Entero) -> None:
    locus = f"{next(ids)}" + "µ" * 300
    scheme = entero.a_scheme({locus: ((1, b"ATG"),)}, ())

    assert [found.name for found in scheme.loci] == [locus]
