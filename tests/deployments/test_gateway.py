"""The gateway before a real Prefect server: what a LIMS may start, see and close."""

import stat
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from deployments.endpoints import BLOCKS, ENDPOINTS, Endpoint
from tests.fakes.builders import a_collection, a_request
from tests.fakes.gateway import GatewayLab

pytest_plugins = ["tests.fakes.gateway_fixture"]
pytestmark = pytest.mark.timeout(180)
READS = "SRR1,SRR2"


def a_job(lab: GatewayLab, number: int) -> int:
    return lab.ispyb.create_job(a_request(a_collection(id=number)))


def inlined(schema: Any, kinds: dict[str, Any]) -> Any:
    """Put what a schema refers to where it refers to it."""
    if isinstance(schema, list):
        return [inlined(one, kinds) for one in schema]
    if not isinstance(schema, dict):
        return schema
    rest = {name: inlined(one, kinds) for name, one in schema.items() if name != "$ref"}
    if "$ref" in schema:
        return inlined(kinds[schema["$ref"].rpartition("/")[2]], kinds) | rest
    return rest


def body_of(page: dict[str, Any], endpoint: Endpoint) -> dict[str, Any]:
    operation = page["paths"][endpoint.path][endpoint.method.lower()]
    schema = operation["requestBody"]["content"]["application/json"]["schema"]
    return inlined(schema, page["components"]["schemas"])


# The page


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda one: one.right)
def test_a_body_is_described_as_the_form_in_prefect(lab: GatewayLab, endpoint: Endpoint) -> None:
    page = httpx.get(f"{lab.url}/openapi.json").json()
    form = lab.deployment(endpoint.full_name)["parameter_openapi_schema"]

    body = body_of(page, endpoint)
    assert body["properties"] == inlined(form["properties"], form.get("definitions", {}))
    assert body.get("required", []) == form.get("required", [])
    assert body["additionalProperties"] is False


def test_the_page_needs_no_token_and_no_internet(lab: GatewayLab) -> None:
    page = lab.ask("GET", "/openapi.json", by="")

    assert page.status_code == 200
    assert {one.path for one in ENDPOINTS} <= set(page.json()["paths"])


# Starting


def test_the_gateway_and_prefect_s_own_interface_start_the_same_deployment(
    lab: GatewayLab,
) -> None:
    deployment = lab.deployment("assemble-strain/default")
    parameters = {"reads": READS, "strain": "from both"}
    ours = lab.start_run("/assemble", **parameters).json()
    at = f"deployments/{deployment['id']}/create_flow_run"
    body = {"parameters": parameters, "state": {"type": "SCHEDULED"}}
    theirs = lab.ask_prefect("POST", at, body)

    run = next(one for one in lab.runs_of("assemble-strain") if one["id"] == ours["run_id"])
    same = ("deployment_id", "parameters", "work_queue_name", "work_pool_name", "flow_id")
    assert [run[name] for name in same] == [theirs[name] for name in same]
    assert run["state"]["type"] == "SCHEDULED"


def test_a_run_that_is_started_says_where_it_is(lab: GatewayLab) -> None:
    answer = lab.start_run("/type", assembly="SAL_AA0001AA_AS", scheme="MLST")
    started = answer.json()

    assert answer.status_code == 202
    assert answer.headers["location"] == started["run_url"]
    assert started["page"].endswith(f"/runs/flow-run/{started['run_id']}")
    seen = lab.ask("GET", started["run_url"].removeprefix(lab.url)).json()
    assert (seen["run_id"], seen["state"], seen["is_over"]) == (
        started["run_id"],
        "SCHEDULED",
        False,
    )


def test_a_request_that_is_repeated_is_the_same_run(lab: GatewayLab) -> None:
    first, again = (lab.start_run("/assemble", "upload 7", reads="SRR70") for _ in range(2))

    assert [first.status_code, again.status_code] == [202, 202]
    assert first.json()["run_id"] == again.json()["run_id"]
    assert "idempotent-replayed" not in first.headers
    assert again.headers["idempotent-replayed"] == "true"


def test_the_order_of_the_keys_and_the_spaces_make_no_other_request(lab: GatewayLab) -> None:
    headers = {"Idempotency-Key": "spaces", "Content-Type": "application/json"}
    bodies = ('{"reads": "SRR71", "strain": "s"}', '{"strain":"s",  "reads":"SRR71"}')
    answers = [lab.ask("PUT", "/api/v1.0/assemble", content=one, headers=headers) for one in bodies]

    assert [one.status_code for one in answers] == [202, 202]
    assert len({one.json()["run_id"] for one in answers}) == 1


def test_a_key_that_stands_for_another_request_is_refused(lab: GatewayLab) -> None:
    lab.start_run("/assemble", "upload 8", reads="SRR80")
    other = lab.start_run("/assemble", "upload 8", reads="SRR81")

    assert other.status_code == 409
    assert "another body" in other.json()["error"]


def test_clients_and_endpoints_do_not_share_keys(lab: GatewayLab) -> None:
    body = {"assembly": "SAL_AA0002AA_AS", "scheme": "MLST"}
    headers = {"Idempotency-Key": "mine"}
    by_two = [
        lab.ask("POST", "/api/v1.0/type", by=name, json=body, headers=headers).json()["run_id"]
        for name in ("lims", "website")
    ]

    assert len(set(by_two)) == 2
    assert lab.start_run("/assemble", "mine", reads="SRR82").status_code == 202


def test_without_a_key_each_request_is_a_run(lab: GatewayLab) -> None:
    runs = [lab.start_run("/assemble", reads="SRR90").json()["run_id"] for _ in range(2)]

    assert len(set(runs)) == 2


def test_a_processing_job_is_one_run_until_somebody_worked_on_it(lab: GatewayLab) -> None:
    job_id = a_job(lab, 501)
    first, again = (lab.start_run("/reprocess", job_id=job_id) for _ in range(2))

    assert first.status_code == again.status_code == 202
    assert first.json()["run_id"] == again.json()["run_id"]
    assert (again.json()["replayed"], again.json()["reason"]) == (True, "its run goes on")


def test_a_processing_job_that_is_not_there_is_not_found(lab: GatewayLab) -> None:
    answer = lab.start_run("/reprocess", job_id=999_999)

    assert answer.status_code == 404
    assert answer.json()["error"] == "there is no processing job 999999"


def test_a_job_can_be_asked_for_with_all_that_it_holds(lab: GatewayLab) -> None:
    job = a_request(a_collection(id=601)).model_dump(mode="json")
    answer = lab.start_run("/jobs", "job 601", job=job, start=True)

    assert answer.status_code == 202
    run = next(r for r in lab.runs_of("create-job") if r["id"] == answer.json()["run_id"])
    assert run["parameters"] == {"job": job, "start": True}


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda one: one.right)
def test_every_parameter_that_names_a_block_is_known_to_do_so(
    lab: GatewayLab, endpoint: Endpoint
) -> None:
    form = lab.deployment(endpoint.full_name)["parameter_openapi_schema"]["properties"]

    assert {name for name, one in form.items() if " block" in one["description"]} <= BLOCKS


def test_a_search_may_be_as_long_as_its_flow_takes(lab: GatewayLab) -> None:
    longest = ">gene\n" + "A" * 4_999_994
    takes = lab.start_run("/search", sequences=longest, scheme="MLST")
    takes_not = lab.start_run("/search", sequences=longest + "A", scheme="MLST")

    assert [takes.status_code, takes_not.status_code] == [202, 422]


def test_a_deployment_that_is_made_anew_is_found_and_one_that_is_gone_is_waited_for(
    lab: GatewayLab,
) -> None:
    name = "update-assemblies/default"
    old = lab.deployment(name)
    kept = ("name", "flow_id", "entrypoint", "parameter_openapi_schema", "work_pool_name")
    anew = {one: old[one] for one in kept}

    def remove() -> None:
        lab.ask_prefect("DELETE", f"deployments/{lab.deployment(name)['id']}")

    def make() -> None:
        lab.ask_prefect("POST", "deployments/", anew)

    def ask() -> httpx.Response:
        return lab.start_run("/update-assemblies", dry_run=True)

    first = ask()
    remove()
    make()
    other = ask()
    remove()
    gone = ask()
    make()
    again = ask()

    answers = (first, other, gone, again)
    assert [one.status_code for one in answers] == [202, 202, 503, 202]
    assert gone.headers["retry-after"]
    assert f"there is no deployment {name}" in lab.log


# What is told


def test_a_processing_job_is_told_with_its_attempts(lab: GatewayLab) -> None:
    from tests.fakes.builders import a_registration  # noqa: PLC0415

    job_id = a_job(lab, 701)
    waiting = lab.ask("GET", f"/api/v1.0/reprocess/{job_id}").json()
    run_id = lab.start_run("/reprocess", job_id=job_id).json()["run_id"]
    registration = a_registration(job_id, 701, environment=f"guid=g1, flow_run={run_id}")
    lab.ispyb.register(registration)
    working = lab.ask("GET", f"/api/v1.0/reprocess/{job_id}").json()

    assert (waiting["state"], waiting["attempts"]) == ("waiting", [])
    [attempt] = working["attempts"]
    assert (working["state"], attempt["state"]) == ("running", "running")
    assert (attempt["run"]["run_id"], attempt["run"]["state"]) == (run_id, "SCHEDULED")


def test_a_job_of_enterobase_is_told_with_its_runs(lab: GatewayLab) -> None:
    run_id = lab.start_run("/assemble", reads="SRR60").json()["run_id"]
    job = lab.entero.jobs.start(accession="SRR60", pipeline="QAssembly", flow_run_id=run_id)
    told = lab.ask("GET", f"/api/v1.0/assemble/{job.id}").json()

    assert (told["accession"], told["pipeline"], told["status"]) == ("SRR60", "QAssembly", "QUEUED")
    assert datetime.fromisoformat(told["sent"]).utcoffset() == timedelta(0)
    [run] = told["runs"]
    assert (run["flow_run_id"], run["run"]["state"]) == (run_id, "SCHEDULED")


@pytest.mark.parametrize("kind", ["reprocess", "assemble"])
def test_a_job_that_is_not_there_is_not_found(lab: GatewayLab, kind: str) -> None:
    answer = lab.ask("GET", f"/api/v1.0/{kind}/999999")

    assert answer.status_code == 404
    assert "999999" in answer.json()["error"]


# Call-backs


def a_job_of_crobot(lab: GatewayLab) -> int:
    from sqlalchemy import create_engine, text  # noqa: PLC0415

    engine = create_engine(lab.entero_url)
    with engine.begin() as connection:
        columns, values = "accession, status, pipeline", "'SRR5', 'QUEUED', 'QAssembly'"
        connection.execute(text(f"INSERT INTO user_jobs ({columns}) VALUES ({values})"))
        found = int(connection.execute(text("SELECT max(job_id) FROM user_jobs")).scalar_one())
    engine.dispose()
    return found


def call_back(lab: GatewayLab, job_id: int, status: str, **more: Any) -> httpx.Response:
    body = {"job_id": job_id, "status": status, **more}
    return lab.ask("POST", "/api/v1.0/call-back", by="crobot", json=body)


def test_a_call_back_closes_a_job_once(lab: GatewayLab) -> None:
    job_id = a_job_of_crobot(lab)
    more = {"version": "2.1", "log": "https://x/y", "outputs": {"a": [1]}, "workgroup": "user"}
    first, again = (call_back(lab, job_id, "COMPLETE", **more) for _ in range(2))

    assert (first.status_code, first.json()["accepted"]) == (200, True)
    assert (again.status_code, again.json()["accepted"]) == (200, False)
    assert again.json()["reason"] == f"job {job_id} was COMPLETE already"
    job = lab.entero.jobs.job(job_id)
    assert (job.status, job.version) == ("COMPLETE", "2.1")


def test_a_job_does_not_end_twice_in_two_ways(lab: GatewayLab) -> None:
    job_id = a_job_of_crobot(lab)
    call_back(lab, job_id, "FAILED")
    other = call_back(lab, job_id, "COMPLETE")

    assert other.status_code == 409
    assert lab.entero.jobs.job(job_id).status == "FAILED"


def test_a_job_that_a_run_of_ours_worked_on_is_not_closed_from_outside(lab: GatewayLab) -> None:
    job = lab.entero.jobs.start(accession="SRR61", pipeline="QAssembly", flow_run_id="of-ours")
    answer = call_back(lab, job.id, "COMPLETE")

    assert answer.status_code == 409
    assert lab.entero.jobs.job(job.id).status == "QUEUED"


@pytest.mark.parametrize(
    ("job_id", "status", "answer"), [(999_999, "COMPLETE", 404), (1, "RUNNING", 422)]
)
def test_a_call_back_about_nothing_is_refused(
    lab: GatewayLab, job_id: int, status: str, answer: int
) -> None:
    assert call_back(lab, job_id, status).status_code == answer


@pytest.mark.parametrize("log", ["NaN", "1e999", "9" * 30, '"\\u0000"', '{"a": 1, "a": 2}'])
def test_a_call_back_with_what_no_json_has_is_refused(lab: GatewayLab, log: str) -> None:
    body = f'{{"job_id": 1, "status": "COMPLETE", "log": {log}}}'
    headers = {"Content-Type": "application/json"}
    answer = lab.ask("POST", "/api/v1.0/call-back", content=body, headers=headers)

    assert answer.status_code == 422


def test_only_who_may_call_back_closes_jobs(lab: GatewayLab) -> None:
    body = {"job_id": 1, "status": "FAILED"}

    assert lab.ask("POST", "/api/v1.0/call-back", by="website", json=body).status_code == 403


# What is left behind


def test_requests_are_counted_by_endpoint_and_status(lab: GatewayLab) -> None:
    lab.ask("GET", "/nowhere?token=lf_0123")
    lab.start_run("/assemble", reads="SRR50")
    counted = httpx.get(f"http://127.0.0.1:{lab.metrics_port}/metrics").text

    assert 'limsflow_requests_total{endpoint="/api/v1.0/assemble",status="202"}' in counted
    assert 'limsflow_requests_total{endpoint="(no such address)",status="404"}' in counted
    assert 'limsflow_hand_off_seconds_count{source="http"}' in counted


def test_no_secret_is_logged_and_no_token_is_kept(lab: GatewayLab) -> None:
    lab.ask("GET", f"/api/v1.0/{lab.tokens['website']}?token={lab.tokens['website']}")
    lab.ask("GET", "/api/v1.0/reprocess/1", by="", headers={"Authorization": "Bearer swordfish"})
    log = lab.log

    secrets = [*lab.tokens.values(), "swordfish", "token="]
    assert [one for one in secrets if one in log] == []
    assert "PUT /api/v1.0/assemble 202" in log
    assert [one for one in lab.tokens.values() if one in lab.clients.read_text()] == []
    assert stat.S_IMODE(Path(lab.clients).stat().st_mode) == 0o600


def test_no_answer_of_the_gateway_was_a_bug(lab: GatewayLab) -> None:
    assert "Traceback" not in lab.log
    assert " 500 " not in lab.log


def test_a_gateway_whose_prefect_and_databases_are_away_asks_for_patience(
    lab: GatewayLab, tmp_path: Path
) -> None:
    alone = GatewayLab(tmp_path, "http://127.0.0.1:9/api", lab.ispyb_url, lab.entero_url)
    alone.clients.write_text(lab.clients.read_text())
    alone.tokens = lab.tokens
    alone.start(ispyb=f"sqlite:///{tmp_path / 'no' / 'ispyb.db'}")
    answers = [
        alone.start_run("/assemble", "k", reads="SRR1"),
        alone.ask("GET", "/api/v1.0/runs/00000000-0000-4000-8000-000000000000"),
        alone.ask("GET", "/api/v1.0/reprocess/1"),
        alone.ask("GET", "/api/v1.0/assemble/1"),
    ]
    alone.stop()

    assert [one.status_code for one in answers] == [503] * 4
    assert {one.headers["retry-after"] for one in answers} == {"5"}
    assert "Traceback" not in alone.log
