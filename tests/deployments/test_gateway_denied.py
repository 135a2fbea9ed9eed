"""What the gateway refuses, and whom."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.fakes.gateway import GatewayLab, basic
from tests.fakes.served import wait_for

pytest_plugins = ["tests.fakes.gateway_fixture"]
pytestmark = pytest.mark.timeout(180)


# What is refused


@pytest.mark.parametrize(
    ("path", "body", "place"),
    [
        ("/assemble", {"reads": "SRR1", "colour": "red"}, "colour"),
        ("/assemble", {}, "reads"),
        ("/assemble", {"reads": ""}, "reads"),
        ("/assemble", {"reads": "SRR1", "user_id": 0}, "user_id"),
        ("/assemble", {"reads": "SRR1", "user_id": "1"}, "user_id"),
        ("/assemble", {"reads": "SRR1", "assembler": "velvet"}, "assembler"),
        ("/assemble", {"reads": "SRR1", "entero": "sqlite:////etc/passwd"}, "entero"),
        ("/assemble", {"reads": "SRR1", "toolchain": "http://evil"}, "toolchain"),
        ("/reprocess", {"job_id": 1, "ispyb": "mysql://root@db/ispyb"}, "ispyb"),
        ("/reprocess", {"job_id": 1, "ispyb": "sqlite:///other.db"}, "ispyb"),
        ("/reprocess", {"job_id": 1, "ispyb": "../../flows"}, "ispyb"),
        ("/reprocess", {"job_id": 1, "ispyb": "a\x7fb"}, "ispyb"),
        ("/reprocess", {"job_id": 2**63}, "job_id"),
        ("/reprocess", {"job_id": 1, "wait_for_rows_s": 3601}, "wait_for_rows_s"),
        ("/update-scheme", {"scheme": "M", "fan_out": {"dask_scheduler": "tcp://evil:1"}},
         "fan_out.dask_scheduler"),
        ("/update-scheme", {"scheme": "M", "fan_out": {"engine": "cloud"}}, "fan_out.engine"),
        ("/update-scheme", {"scheme": "M", "limit": 10**30}, "limit"),
        ("/type", {"assembly": "SAL\0", "scheme": "MLST"}, "assembly"),
        ("/jobs", {"job": {"sweeps": []}}, "job.sweeps"),
    ],
)  # fmt: skip
def test_a_body_that_the_flow_does_not_take_is_refused_with_its_place(
    lab: GatewayLab, path: str, body: dict[str, Any], place: str
) -> None:
    answer = lab.start_run(path, **body)
    refusal = answer.json()

    assert (answer.status_code, refusal["kind"]) == (422, "invalid")
    assert place in [one["place"] for one in refusal["places"]]
    assert place in refusal["error"]


@pytest.mark.parametrize(
    "body",
    [
        b"", b"{", b"[]", b"null", b"\xff\xfe", b"reads=SRR1",
        b'{"reads": "SRR1", "reads": "SRR2"}',
        b'{"reads": "\\ud800"}',
        b'{"reads": "a\\u0000b"}',
        b'{"reads": "SRR1", "user_id": ' + b"9" * 5000 + b"}",
        b'{"reads": "SRR1", "user_id": NaN}',
        b'{"reads": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"reads": {"__prefect_kind": "jinja", "template": "{{ 1 }}"}}',
    ],
    ids=range(13),
)  # fmt: skip
def test_what_is_no_sensible_json_is_refused(lab: GatewayLab, body: bytes) -> None:
    headers = {"Content-Type": "application/json"}
    answer = lab.ask("PUT", "/api/v1.0/assemble", content=body, headers=headers)

    assert answer.status_code == 422
    assert answer.json()["error"].startswith("the body")


def test_a_number_that_is_none_is_refused(lab: GatewayLab) -> None:
    for number in ("NaN", "Infinity", "1e400"):
        body = f'{{"job_id": 1, "wait_for_rows_s": {number}}}'
        headers = {"Content-Type": "application/json"}
        answer = lab.ask("POST", "/api/v1.0/reprocess", content=body, headers=headers)

        assert answer.status_code == 422


def test_a_sequence_may_hold_an_address_where_nobody_opens_it(lab: GatewayLab) -> None:
    sequences = ">gene from https://example.org/x\nACGT\n"

    assert lab.start_run("/search", sequences=sequences, scheme="MLST").status_code == 202


@pytest.mark.parametrize("key", ["", "x" * 201, "caf\u00e9", "a\tb"])
def test_a_key_that_is_none_is_refused(lab: GatewayLab, key: str) -> None:
    headers = {"Idempotency-Key": key.encode()}
    answer = lab.ask("PUT", "/api/v1.0/assemble", json={"reads": "SRR1"}, headers=headers)

    assert answer.status_code == 422
    assert "Idempotency-Key" in answer.json()["error"]


def test_two_keys_are_refused(lab: GatewayLab) -> None:
    headers = [
        ("Authorization", f"Bearer {lab.tokens['lims']}"),
        ("Idempotency-Key", "a"),
        ("Idempotency-Key", "b"),
    ]
    at = f"{lab.url}/api/v1.0/assemble"

    assert httpx.put(at, json={"reads": "SRR1"}, headers=headers).status_code == 422


def test_a_body_that_is_too_large_is_refused_also_in_pieces(lab: GatewayLab) -> None:
    piece = b" " * 64_000

    def pieces() -> Iterator[bytes]:
        for _ in range(20):
            yield piece

    headers = {"Content-Type": "application/json"}
    whole = lab.ask("POST", "/api/v1.0/type", content=piece * 20, headers=headers)
    in_pieces = lab.ask("POST", "/api/v1.0/type", content=pieces(), headers=headers)
    assert [whole.status_code, in_pieces.status_code] == [413, 413]
    assert whole.json()["kind"] == "too-large"


def test_a_body_that_is_not_said_to_be_json_is_refused(lab: GatewayLab) -> None:
    answer = lab.ask("PUT", "/api/v1.0/assemble", data={"reads": "SRR1"})

    assert answer.status_code == 415


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nowhere", 404),
        ("DELETE", "/api/v1.0/assemble", 405),
        ("GET", "/api/v1.0/runs/", 404),
    ],
)
def test_a_wrong_address_has_an_answer_of_the_same_shape(
    lab: GatewayLab, method: str, path: str, status: int
) -> None:
    answer = lab.ask(method, path)

    assert answer.status_code == status
    assert set(answer.json()) == {"error", "kind", "places"}
    assert "/openapi.json" in answer.json()["error"]


def test_a_host_that_is_none_does_no_harm(lab: GatewayLab) -> None:
    answer = lab.ask("GET", "/api/v1.0/reprocess/1/", headers={"Host": "[::"})

    assert answer.status_code in (400, 404)


# Who asks


def asked_by_a_stranger(lab: GatewayLab, **given: Any) -> httpx.Response:
    """Ask without a valid token, when nobody else has just guessed too many."""

    def answered() -> httpx.Response | None:
        answer = lab.ask("PUT", "/api/v1.0/assemble", by="", **given)
        return None if answer.status_code == 429 else answer

    return wait_for(answered)


def test_without_a_token_nothing_is_done(lab: GatewayLab) -> None:
    for headers in ({}, {"Authorization": "Bearer lf_wrong"}, basic("lf_wrong")):
        answer = asked_by_a_stranger(lab, json={"colour": 1}, headers=headers)

        assert answer.status_code == 401
        assert answer.headers["www-authenticate"].startswith("Bearer")


def test_a_token_may_be_the_user_of_http_basic(lab: GatewayLab) -> None:
    body = {"reads": "SRR99"}
    token = lab.tokens["website"]
    right = lab.ask("PUT", "/api/v1.0/assemble", by="", json=body, headers=basic(token))
    wrong = asked_by_a_stranger(lab, json=body, headers=basic(token, "x"))

    assert [right.status_code, wrong.status_code] == [202, 401]


def test_a_client_may_do_what_its_rights_say(lab: GatewayLab) -> None:
    body = {"job_id": 1}
    answer = lab.ask("POST", "/api/v1.0/reprocess", by="website", json=body)

    assert answer.status_code == 403
    assert answer.json()["error"] == "website lacks the right 'reprocess'"


def test_a_client_sees_its_own_runs_and_others_with_the_right_to_read(lab: GatewayLab) -> None:
    body = {"reads": "SRR98"}
    own = lab.ask("PUT", "/api/v1.0/assemble", by="website", json=body).json()["run_id"]
    other = lab.start_run("/assemble", reads="SRR97").json()["run_id"]
    nobody_s = "00000000-0000-4000-8000-000000000000"

    def seen(run_id: str, by: str) -> int:
        return lab.ask("GET", f"/api/v1.0/runs/{run_id}", by=by).status_code

    assert [seen(one, "website") for one in (own, other, nobody_s)] == [200, 403, 403]
    assert [seen(one, "watcher") for one in (own, other, nobody_s)] == [200, 200, 404]
    assert lab.ask("GET", "/api/v1.0/reprocess/1", by="website").status_code == 403


def test_who_asks_too_often_is_told_when_to_come_back(lab: GatewayLab) -> None:
    answers = [lab.ask("GET", "/api/v1.0/reprocess/1", by="hasty") for _ in range(4)]

    assert [one.status_code == 429 for one in answers] == [False, False, False, True]
    assert 0 < int(answers[-1].headers["retry-after"]) <= 100


def test_clients_are_let_in_and_locked_out_while_the_gateway_runs(lab: GatewayLab) -> None:
    before = lab.clients.read_text()
    lab.clients.write_text(json.dumps({"clients": []}))
    locked_out = lab.ask("GET", "/api/v1.0/reprocess/1").status_code
    lab.clients.write_text("{")
    of_a_slip = lab.ask("GET", "/api/v1.0/reprocess/1").status_code
    lab.clients.write_text(before)

    assert {locked_out, of_a_slip} <= {401, 429}
    assert lab.ask("GET", "/api/v1.0/runs/x").status_code == 422
