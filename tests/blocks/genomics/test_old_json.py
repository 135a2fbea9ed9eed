"""Old JSON is encoded once, with everything that it said; what cannot be is left and listed."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from blocks.genomics.changes import Why, WhyLeft
from blocks.genomics.old_json import old_json
from tests.fakes.old_entero import DATABASE, OldEntero, twice
from tests.fakes.old_kinds import OLD_KINDS, changes, left, old_entero, taken

DATA = {"job_id": 7, "egg": 'é\n"\\', "results": {"O": "4", "list": [1.5, None, True]}}
DEEP = 100_000
DAMAGED = {
    "broken": '{"broken',
    "no object": "[1, 2]",
    "a word": '"egg"',
    "a number": "7",
    "deep": "[" * DEEP + "]" * DEEP,
    "deep objects": '{"a":' * DEEP + "1" + "}" * DEEP,
    "deep in a text": json.dumps("[" * DEEP),
    "a huge number": '{"n": ' + "9" * 5_000 + "}",
    "no object in a text": twice([1]),
    "half a text": '"{\\"a\\": 1',
}
LOSSY = {
    "a key twice": '{"a": 1, "a": 2}',
    "too large": '{"a": 1e999}',
    "too exact": '{"a": 0.12345678901234567890123}',
    "no number": '{"a": NaN}',
}


@pytest.fixture(params=OLD_KINDS)
def old(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[OldEntero]:
    made = old_entero(request.param, tmp_path, lambda: request.getfixturevalue("postgres"))
    yield made
    made.close()


def layers(value: object, count: int) -> str:
    text = json.dumps(value)
    for _ in range(count - 1):
        text = json.dumps(text)
    return text


@pytest.mark.parametrize("count", [2, 3, 5])
def test_a_text_is_encoded_once_whatever_it_was(count: int) -> None:
    read = old_json(layers(DATA, count), "x")

    assert (read.data, read.why, read.why_left) == (DATA, Why.LAYERS, None)
    assert json.loads(read.anew or "") == DATA
    assert old_json(read.anew, "x").anew is None


@pytest.mark.parametrize("text", [None, "", "  ", "{}", json.dumps(DATA), ' {"a" : 1} ', '""'])
def test_a_text_that_is_right_or_says_nothing_stays(text: str | None) -> None:
    read = old_json(text, "x")

    assert (read.anew, read.why_left) == (None, None)


@pytest.mark.parametrize("key", ["file_pointer", "file_location"])
@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_path_in_a_text_is_made_plain(key: str, count: int) -> None:
    read = old_json(json.dumps({key: layers("/a b/é.gff", count), "egg": '"x"'}), "x")

    assert json.loads(read.anew or "") == {key: "/a b/é.gff", "egg": '"x"'}
    assert read.why == Why.POINTER


@pytest.mark.parametrize("value", ["/plain", '"half', None, 7, ["x"], {"a": '"b"'}])
def test_a_path_that_is_plain_or_none_stays(value: object) -> None:
    assert old_json(json.dumps({"file_pointer": value}), "x").anew is None


@pytest.mark.parametrize("text", DAMAGED.values(), ids=DAMAGED)
def test_what_is_damaged_says_so(text: str) -> None:
    read = old_json(text, "other_data of x")

    assert (read.data, read.anew, read.why_left) == ({}, None, WhyLeft.DAMAGED)
    assert read.said.startswith("other_data of x holds ")
    assert len(read.said) < 200


@pytest.mark.parametrize("text", LOSSY.values(), ids=LOSSY)
def test_what_would_lose_something_is_not_written_anew(text: str) -> None:
    once, read = old_json(text, "x"), old_json(json.dumps(text), "x")

    assert (once.anew, once.why_left) == (None, None)
    assert (read.anew, read.why_left) == (None, WhyLeft.LOSSY)


def test_half_characters_and_zeros_survive(old: OldEntero) -> None:
    row_id = old.add_lookup(status="EGG", other_data=twice({"a": "\ud800", "b": "\0", "é": "ü"}))
    taken(old)

    assert old.lookup(row_id).other_data == '{"a": "\\ud800", "b": "\\u0000", "\\u00e9": "\\u00fc"}'


def test_hostile_texts_are_left_and_listed_wherever_they_are(old: OldEntero) -> None:
    texts = [*DAMAGED.values(), *(json.dumps(text) for text in LOSSY.values())]
    for text in texts:
        old.add_lookup(status="EGG", other_data=text)
        old.add("user_preferences", database=DATABASE, data=text)
    before = old.legacy()
    found = taken(old)

    assert changes(found) == []
    assert [one.table for one in left(found)] == [
        *["assembly_lookup"] * len(texts),
        *["user_preferences"] * len(texts),
    ]
    assert old.legacy() == before


def test_a_result_counts_though_what_is_said_of_it_is_damaged(old: OldEntero) -> None:
    old.add_lookup(other_data='{"fail_count": 3, "broken')
    found = taken(old)

    assert [row[2:9] for row in old.calls()] == [("COMPLETE", None, 1, 1, 0, 0, 0)]
    assert [one.why for one in left(found)] == [WhyLeft.DAMAGED]


def test_paths_of_assemblies_are_made_plain(old: OldEntero) -> None:
    texts = ['"/share/1/a.fastq"', '"\\"/share/2/a.fastq\\""', "/share/3", '"half', '"a"b"', None]
    rows = [old.add("assemblies", file_pointer=text) for text in texts]
    hostile = [old.add("assemblies", file_pointer=text) for text in ('"\\u0000"', '"\\ud800"')]
    found = taken(old)
    sql = "SELECT id, file_pointer FROM assemblies"
    now = {row.id: row.file_pointer for row in old.look().rows(sql)}

    plain = ["/share/1/a.fastq", "/share/2/a.fastq", *texts[2:]]
    assert [now[one] for one in rows] == plain
    assert [(one.key["id"], one.why) for one in left(found)] == [
        (one, WhyLeft.UNHOLDABLE) for one in hostile
    ]


def test_analyses_of_this_species_are_encoded_once_and_others_are_not_touched(
    old: OldEntero,
) -> None:
    mine = old.add("user_preferences", database=DATABASE, data=twice({"complete": "true"}))
    old.add("user_preferences", database="ecoli", data=twice({"complete": "true"}))
    found = taken(old)

    assert [(one.table, one.key) for one in changes(found)] == [("user_preferences", {"id": mine})]
    assert old.store().jobs.analysis(mine) == {"complete": "true"}
