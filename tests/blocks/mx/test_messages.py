"""What the senders of today write, byte for byte, and what nobody should."""

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blocks.errors import InvalidRequest
from blocks.mx.messages import JobMessage, job_of, read_message
from tests.fakes.messages import SYNCHWEB, VISIT, WRAPPED, a_recipe, wrapped


@pytest.mark.parametrize(
    "body",
    [
        SYNCHWEB,
        b'{"recipes": [], "parameters": {"ispyb_process": 4024}}',
        b'{"recipes": [], "parameters": {"ispyb_process": "4024", "nproc": "4"}}',
        b'{"parameters":{"ispyb_process":" 4024 "},"guid":"c7c6"}',
        b'{"parameters":{"ispyb_process":4024.0}}',
        b'{"parameters":{"ispyb_reprocessing_id":4024}}',
        b'{"parameters":{"ispyb_process":null,"ispyb_reprocessing_id":"4024"}}',
        b'\n{"parameters" : {"ispyb_process" : 4024}}\n',
    ],
)
def test_every_sender_of_today_is_understood(body: bytes) -> None:
    assert read_message(body, {}) == JobMessage(job_id=4024)


@pytest.mark.parametrize(
    "body",
    [
        b'{"recipes":["trigger-dimple"],"parameters":{"ispyb_dcid":7,"scaling_id":9}}',
        b'{"recipes":["mimas"],"parameters":{"ispyb_process":4024}}',
        b'{"custom_recipe":{"1":{}},"parameters":{"ispyb_process":4024}}',
        b'{"parameters":{"ispyb_dcid":7}}',
        b'{"parameters":[]}',
        b"{}",
    ],
)
def test_what_is_for_zocalo_is_not_for_us(body: bytes) -> None:
    assert read_message(body, {}) is None


@pytest.mark.parametrize(
    "value",
    [
        0,
        -1,
        4294967296,
        1.5,
        True,
        None,
        "",
        "40 24",
        "4024; rm",
        "٤٠٢٤",
        "1e3",
        [4024],
        {"id": 4024},
        "{ispyb_process}",
    ],
    ids=repr,
)
def test_what_is_no_id_is_said(value: Any) -> None:
    body = json.dumps({"parameters": {"ispyb_process": value}}).encode()

    with pytest.raises(InvalidRequest, match="not the id of a processing job"):
        read_message(body, {})


def test_a_number_of_5000_digits_is_no_id() -> None:
    with pytest.raises(InvalidRequest):
        read_message(b'{"parameters":{"ispyb_process":1' + b"0" * 5000 + b"}}", {})


@pytest.mark.parametrize("body", [b"", b"\xff\xfe", b"[1]", b'"text"', b"{", b"[" * 200_000])
def test_what_is_no_message_is_said(body: bytes) -> None:
    with pytest.raises(InvalidRequest, match=r"JSON|bytes"):
        read_message(body, {})


@pytest.mark.parametrize("flag", [True, "True", "true", 1, "1"])
def test_a_recipe_says_where_how_long_and_under_which_name(flag: Any) -> None:
    message = a_recipe()
    found = read_message(wrapped(message), {"workflows-recipe": flag})

    assert found is not None
    assert found.step is not None
    assert found.job_id == 4024
    assert found.step.working_directory == f"{VISIT}/scratch/thau_1/ab-12"
    assert found.step.results_directory == f"{VISIT}/processed/thau/thau_1/ab-12"
    assert (found.step.program, found.step.command_line) == ("xia2 dials", "XIA2 DIALS (ap-zoc)")
    assert found.step.environment == {"d_min": "1.8", "spacegroup": "P43212"}
    assert (found.step.timeout_s, found.step.store_result) == (3600, "ispyb_autoprocprogram_id")
    assert found.step.message == message


def test_a_step_is_filled_in_from_the_environment_and_its_payload_wins() -> None:
    message = a_recipe(ispyb_process="$job", program="not this", environment="")
    message["environment"]["job"] = 77
    message["payload"] = {"program": "xia2 ${kind}", "timeout": None}

    found = read_message(wrapped(message), WRAPPED)

    assert found is not None
    assert found.step is not None
    assert found.job_id == 77
    assert found.step.program == "xia2 ${kind}"
    assert (found.step.timeout_s, found.step.environment) == (None, {})


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"recipe-pointer": 9}, "no step 9"),
        ({"recipe": []}, "no step 1"),
        ({"recipe": {"1": {"parameters": {"rpid": "x"}}}}, "rpid"),
        ({"payload": {"timeout": -5}}, "timeout_s"),
        ({"payload": {"timeout": "soon"}}, "timeout_s"),
        ({"payload": {"program": "x" * 300}}, "program"),
        ({"environment": {"name": "\0"}}, "NUL"),
        ({"more": json.loads("[" * 60 + "]" * 60)}, "nested deeper"),
        ({"environment": {"a": "x" * 4000}, "payload": {"program": "$a $a"}}, "longer than 4096"),
        ({"environment": {"name": float("nan")}}, "cannot be kept"),
        ({"environment": {"name": "\ud800"}}, "cannot be kept"),
    ],
)
def test_a_recipe_that_cannot_be_used_is_said(change: dict[str, Any], reason: str) -> None:
    with pytest.raises(InvalidRequest, match=reason):
        read_message(wrapped(a_recipe() | change), WRAPPED)


def test_the_job_of_a_recipe_that_cannot_be_used_is_still_known() -> None:
    assert job_of(wrapped(a_recipe(timeout=-5))) == 4024
    assert job_of(SYNCHWEB) == 4024
    assert job_of(b"nonsense") is None
    assert job_of(b'{"parameters": 5}') is None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
BODIES = st.binary() | st.builds(lambda value: json.dumps(value).encode(), JSON)
RECIPES = st.builds(
    lambda change: wrapped(a_recipe() | change),
    st.dictionaries(
        st.sampled_from(["environment", "payload", "recipe", "recipe-path", "recipe-pointer"]), JSON
    ),
)


@given(body=BODIES | RECIPES, header=st.sampled_from([{}, WRAPPED, {"workflows-recipe": "no"}]))
def test_whatever_comes_is_a_job_somebody_elses_or_refused(
    body: bytes, header: dict[str, Any]
) -> None:
    found = None
    with contextlib.suppress(InvalidRequest):
        found = read_message(body, header)
    job = job_of(body)

    assert found is None or 1 <= found.job_id < 2**32
    assert job is None or 1 <= job < 2**32
