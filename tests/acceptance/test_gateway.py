"""The gateway before real servers: a burst while it is killed, call-backs, a database that goes."""

import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import httpx
import pytest

from blocks.mx.store import create_tables
from tests.fakes.builders import a_collection, a_request
from tests.fakes.gateway import GatewayLab, gateway_lab
from tests.fakes.night_stack import night_stack
from tests.fakes.served import wait_for
from tests.postgres.server import PostgresServer, private_postgres

pytestmark = [pytest.mark.services, pytest.mark.timeout(600)]
STRAINS, JOBS, TIMES = 30, 10, 3  # each is asked for so often


@pytest.fixture(scope="module")
def own_postgres() -> Iterator[PostgresServer]:
    """A server of these tests' own: they kill it."""
    with private_postgres() as server:
        yield server


@pytest.fixture(scope="module")
def lab(
    own_postgres: PostgresServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[GatewayLab]:
    folder = tmp_path_factory.mktemp("gateway")
    with night_stack(folder / "stack", own_postgres, "gateway") as stack:
        ispyb = f"sqlite:///{folder / 'ispyb.db'}"
        create_tables(ispyb)
        api = stack.home.api_url
        with gateway_lab(folder, api, ispyb_url=ispyb, entero_url=stack.url) as lab:
            yield lab


def asked_until_done(lab: GatewayLab, path: str, key: str | None, **parameters: Any) -> str:
    """Ask as a LIMS does that never gives up; return the run."""

    def answered() -> str:
        with suppress(httpx.TransportError):
            answer = lab.start_run(path, key, **parameters)
            if answer.status_code == 202:
                return str(answer.json()["run_id"])
            assert answer.status_code == 503, answer.text
        return ""

    return wait_for(answered, seconds=300)


def test_a_burst_over_a_gateway_that_is_killed_is_exactly_as_many_runs(lab: GatewayLab) -> None:
    jobs = [lab.ispyb.create_job(a_request(a_collection(id=n + 1))) for n in range(JOBS)]
    wishes = [("/assemble", f"upload {n}", {"reads": f"SRR{n}"}) for n in range(STRAINS)]
    wishes += [("/reprocess", None, {"job_id": job_id}) for job_id in jobs]
    done, killed = threading.Semaphore(0), threading.Event()

    def ask(wish: tuple[str, str | None, dict[str, Any]]) -> tuple[str, str]:
        path, key, parameters = wish
        run_id = asked_until_done(lab, path, key, **parameters)
        done.release()
        return f"{path} {parameters}", run_id

    def kill() -> None:
        for _ in range(len(wishes)):  # a third of the way
            done.acquire()
        lab.stop(signal.SIGKILL)
        killed.set()
        lab.start()

    with ThreadPoolExecutor(12) as clients:
        killing = clients.submit(kill)
        answers = list(clients.map(ask, wishes * TIMES))
        killing.result()

    assert killed.is_set()
    assert len(answers) == len(wishes) * TIMES
    assert len(set(answers)) == len(wishes)  # whoever repeats is told of the same run
    made = {flow: len(lab.runs_of(flow)) for flow in ("assemble-strain", "reprocess-job")}
    assert made == {"assemble-strain": STRAINS, "reprocess-job": JOBS}


def test_of_call_backs_that_come_at_once_one_is_taken(lab: GatewayLab) -> None:
    job_id = a_job_of_crobot(lab)

    def call_back(status: str) -> tuple[int, bool]:
        body = {"job_id": job_id, "status": status}
        answer = lab.ask("POST", "/api/v1.0/call-back", by="crobot", json=body)
        return answer.status_code, answer.json().get("accepted", False)

    with ThreadPoolExecutor(8) as engines:
        answers = list(engines.map(call_back, ["COMPLETE", "FAILED"] * 8))

    assert sorted(answers) == [(200, False)] * 7 + [(200, True)] + [(409, False)] * 8
    first = lab.entero.jobs.job(job_id).status
    assert first in ("COMPLETE", "FAILED")


def test_a_database_that_goes_and_comes_back_is_asked_for_patience_not_broken(
    lab: GatewayLab, own_postgres: PostgresServer
) -> None:
    job_id = a_job_of_crobot(lab)
    at, body = f"/api/v1.0/assemble/{job_id}", {"job_id": job_id, "status": "KILLED"}
    before = lab.ask("GET", at).status_code
    own_postgres.kill()
    away = [
        lab.ask("GET", at).status_code,
        lab.ask("POST", "/api/v1.0/call-back", json=body).status_code,
    ]
    own_postgres.restart()
    back = [
        lab.ask("POST", "/api/v1.0/call-back", json=body).status_code,
        lab.ask("GET", at).json()["status"],
    ]

    assert (before, away, back) == (200, [503, 503], [200, "KILLED"])


def test_no_secret_is_in_the_log(lab: GatewayLab) -> None:
    password = httpx.URL(lab.entero_url.replace("+psycopg", "")).password
    log = lab.log

    assert password
    assert [one for one in (password, *lab.tokens.values()) if one in log] == []
    assert "PUT /api/v1.0/assemble 202" in log
    assert "Traceback" not in log


def a_job_of_crobot(lab: GatewayLab) -> int:
    from tests.fakes.entero import look_at  # noqa: PLC0415

    look = look_at(lab.entero_url)
    columns, values = "accession, status, pipeline", "'SRR5', 'QUEUED', 'QAssembly'"
    look.change(f"INSERT INTO user_jobs ({columns}) VALUES ({values})")
    found = int(look.value("SELECT max(job_id) FROM user_jobs"))
    look.engine.dispose()
    return found
