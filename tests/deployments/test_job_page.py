"""The page of a job: what an operator reads there, what the buttons do, and who may press them."""

import asyncio
import base64
import re
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import httpx
import pytest

from blocks.mx.records import Attachment, AttachmentType, AttemptState, Message, Severity
from deployments.clients import Buckets, Client, ClientFile, Clients, digest_of
from tests.fakes.builders import a_solution
from tests.fakes.operators import MESSAGE, OperatedJob, an_operated_job, becomes

ADDRESS = "http://gateway.lab"
EVIL = "\"'><script>alert(1)</script><img src=x onerror=alert(1)><a href='javascript:x'>{{7*7}}"
RIGHTS = {"anna": {"read", "operate"}, "ben": {"read"}, "lims": {"reprocess"}}


@pytest.fixture
def job(deployed: None, tmp_path: Path) -> OperatedJob:
    """A job that nobody has asked for yet."""
    return an_operated_job(tmp_path)


def clients(folder: Path) -> Clients:
    """Three clients, each with its name as the token."""
    made = [
        Client(
            name=name,
            token_sha256=digest_of(name),
            rights=frozenset(rights),
            added=datetime.now(UTC),
        )
        for name, rights in RIGHTS.items()
    ]
    path = folder / "clients.json"
    path.write_text(ClientFile(clients=tuple(made)).model_dump_json())
    return Clients(path)


def admitted(gate: Any, right: str) -> Any:
    """Return what lets a request in, as the gateway has it."""
    from fastapi import Depends, Request  # noqa: PLC0415

    from deployments.gateway_requests import require  # noqa: PLC0415

    def let_in(request: Request) -> Client:
        client = gate.admit(request)
        require(client, right)
        return client

    return Depends(let_in)


def asked(
    job: OperatedJob, method: str = "GET", path: str = "", *, by: str = "anna", **headers: str
) -> httpx.Response:
    """Return the page, as a browser gets it that was told the token."""
    from fastapi import FastAPI  # noqa: PLC0415

    from deployments.gateway_requests import Gate  # noqa: PLC0415
    from deployments.job_page import job_router  # noqa: PLC0415
    from deployments.job_runs import job_runs  # noqa: PLC0415

    async def store() -> Any:
        return job.ispyb.store

    gate = Gate(clients(Path(job.url.removeprefix("sqlite:///")).parent), Buckets())
    shown = {"Authorization": f"Basic {base64.b64encode(f'{by}:'.encode()).decode()}"} if by else {}
    given = shown | {name.replace("_", "-"): value for name, value in headers.items()}

    async def ask() -> httpx.Response:
        app = FastAPI()
        async with job_runs() as runs:
            router = job_router(
                reader=admitted(gate, "read"),
                operator=admitted(gate, "operate"),
                store=store,
                runs=lambda: runs,
                ispyb=job.url,
                right="operate",
                address="https://limsflow.facility",
            )
            app.include_router(router)
            transport = httpx.ASGITransport(app=app)
            async with httpx.AsyncClient(transport=transport, base_url=ADDRESS) as client:
                return await client.request(method, path or f"/jobs/{job.id}", headers=given)

    return asyncio.run(ask())


def pressed(job: OperatedJob, button: str, **given: str) -> httpx.Response:
    """Press a button of the page, from the page itself unless told otherwise."""
    origin = {} if {"Origin", "Sec_Fetch_Site"} & set(given) else {"Origin": ADDRESS}
    return asked(job, "POST", f"/jobs/{job.id}/{button}", **(origin | given))


class Read(HTMLParser):
    """A page as a browser reads it: its tags with their attributes, and its words."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags = list[tuple[str, dict[str, str | None]]]()
        self.words = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words += data

    @property
    def names(self) -> set[str]:
        """The kinds of tags."""
        return {tag for tag, _ in self.tags}


def test_the_page_shows_the_job_its_message_its_attempts_log_and_run(
    job: OperatedJob, tmp_path: Path
) -> None:
    run_id, attempt = job.failed("Spotfinding failed")
    (tmp_path / "xia2.txt").write_text("Error: too few spots\n")
    log = Attachment(path=tmp_path / "xia2.txt", type=AttachmentType.LOG, rank=1)
    job.ispyb.store.add_attachments(attempt, [log])
    answer = asked(job)

    page = Read(answer.text)
    assert answer.status_code == 200
    texts = [
        *(f"Processing job {job.id}", "xia2-dials", "801-1200", f"Attempt {attempt}"),
        *("Spotfinding failed", MESSAGE, "limsflow.reprocess", "xia2 pipeline=dials min_images=3"),
        *(str(tmp_path / "xia2.txt"), "Error: too few spots"),
    ]
    assert [text for text in texts if text not in page.words] == []
    links = [one["href"] for tag, one in page.tags if tag == "a"]
    assert [link for link in links if link and link.endswith(f"/runs/flow-run/{run_id}")]


def test_a_result_is_shown_with_its_statistics(job: OperatedJob) -> None:
    run_id, attempt = job.under_way()
    store = job.ispyb.store
    store.add_solution(attempt, store.job(job.id), a_solution(), to_own_collection=False)
    store.close(attempt, AttemptState.SUCCEEDED, "processing successful")
    becomes(run_id, "Completed")

    words = Read(asked(job).text).words
    assert "P 43 21 2 · 78.10 78.10 37.20 90.0 90.0 90.0" in words
    assert "101.25" in words


def test_a_job_whose_run_waits_is_waiting_and_the_run_is_shown(job: OperatedJob) -> None:
    job.failed()
    run_id = job.asked_for()

    page = Read(asked(job).text)
    assert f"Job {job.id}: waiting" in page.words
    assert [one for _, one in page.tags if (one.get("href") or "").endswith(str(run_id))]


def test_no_text_of_the_lims_becomes_a_part_of_the_page(job: OperatedJob, tmp_path: Path) -> None:
    usual = Read(asked(job).text).names
    run_id = job.asked_for(message=EVIL, source=EVIL)
    attempt = job.begun(run_id, program=EVIL, command_line=EVIL)
    store = job.ispyb.store
    store.add_messages(attempt, [Message(severity=Severity.ERROR, message=EVIL, description="a")])
    store.add_messages(attempt, [Message(severity=Severity.INFO, message="b", description=EVIL)])
    (tmp_path / "xia2.txt").write_text(EVIL)
    for path in (tmp_path / "xia2.txt", Path(f"/dls/{EVIL.replace('/', '')}")):
        file = Attachment(path=path, type=AttachmentType.LOG, rank=1)
        store.add_attachments(attempt, [file])
    store.close(attempt, AttemptState.FAILED, EVIL)
    becomes(run_id, "Crashed", EVIL)
    becomes(job.asked_for(message=EVIL, source=EVIL), "Crashed", EVIL)
    job.ispyb.change("UPDATE ProcessingJob SET recipe = :e, displayName = :e", e=EVIL)
    job.ispyb.change(
        "INSERT INTO ProcessingJobParameter (processingJobId, parameterKey, parameterValue)"
        " VALUES (:id, :key, :e)", id=job.id, key=EVIL[:80], e=EVIL,
    )  # fmt: skip
    answer = asked(job)
    text = answer.text

    page = Read(text)
    assert answer.status_code == 200, page.words
    assert page.names - usual <= {"a", "article", "code", "details", "h3", "li", "pre", "summary",
                                  "table", "td", "th", "time", "tr", "ul", "b"}  # fmt: skip
    assert not [one for _, one in page.tags for name in one if name.startswith("on")]
    links = [one["href"] or "" for tag, one in page.tags if tag == "a"]
    assert [link for link in links if not re.match(r"https?://[\w.:]+/runs/flow-run/", link)] == []
    assert page.words.count("{{7*7}}") >= 12
    assert "<script" not in text


def test_a_page_may_load_nothing_and_runs_no_script(job: OperatedJob) -> None:
    answer = asked(job)

    policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "script" not in policy
    assert "frame-ancestors 'none'" in policy
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["referrer-policy"] == "same-origin"
    assert {"script", "img", "link", "iframe"} & Read(answer.text).names == set()


def test_the_only_style_is_the_one_that_the_policy_allows(job: OperatedJob) -> None:
    import hashlib  # noqa: PLC0415

    answer = asked(job)
    [style] = re.findall(r"<style>(.*?)</style>", answer.text, re.DOTALL)

    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert f"style-src 'sha256-{digest}'" in answer.headers["content-security-policy"]


# Who


def test_a_browser_without_a_token_is_asked_for_one(job: OperatedJob) -> None:
    answer = asked(job, by="")

    assert answer.status_code == 401
    assert answer.headers["www-authenticate"].startswith("Basic ")
    assert "Attempt" not in answer.text


def test_who_may_not_read_sees_nothing_of_the_job(job: OperatedJob) -> None:
    answer = asked(job, by="lims")

    assert answer.status_code == 403
    assert "lims lacks the right" in Read(answer.text).words
    assert "xia2-dials" not in answer.text


@pytest.mark.parametrize(("by", "buttons"), [("anna", ["Retry", "Cancel"]), ("ben", [])])
def test_only_who_may_operate_sees_buttons(job: OperatedJob, by: str, buttons: list[str]) -> None:
    assert re.findall(r"<button.*?>(\w+)</button>", asked(job, by=by).text) == buttons


@pytest.mark.parametrize("button", ["retry", "cancel"])
@pytest.mark.parametrize(("by", "status"), [("ben", 403), ("lims", 403), ("", 401)])
def test_nobody_else_can_press_them(job: OperatedJob, button: str, by: str, status: int) -> None:
    run_id, attempt = job.failed()
    job.begun(run_id)

    assert pressed(job, button, by=by).status_code == status
    assert len(job.runs()) == 1
    assert job.ispyb.store.attempts(job.id)[-1].state is AttemptState.RUNNING
    assert attempt


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://gateway.lab.evil.example"},
        {"Origin": "http://[bad"},
        {"Origin": ADDRESS, "Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-site"},
        {"Sec_Fetch_Site": "none"},
        {"Origin": ""},
    ],
)
@pytest.mark.parametrize("button", ["retry", "cancel"])
def test_another_site_cannot_press_a_button_for_an_operator(
    job: OperatedJob, button: str, headers: dict[str, str]
) -> None:
    run_id, _ = job.failed()
    job.begun(run_id)

    assert pressed(job, button, **headers).status_code == 403
    assert len(job.runs()) == 1
    assert job.ispyb.store.attempts(job.id)[-1].state is AttemptState.RUNNING


def test_basic_without_a_word_of_where_it_is_from_is_refused_and_a_bearer_is_not(
    job: OperatedJob,
) -> None:
    where = f"/jobs/{job.id}/retry"

    assert asked(job, "POST", where).status_code == 403
    assert asked(job, "POST", where, by="", Authorization="Bearer anna").status_code == 303


@pytest.mark.parametrize(
    "headers",
    [{"Origin": ADDRESS}, {"Sec_Fetch_Site": "same-origin"},
     {"Origin": "https://limsflow.facility"}],
)  # fmt: skip
def test_a_button_of_the_page_works_also_behind_a_proxy(
    job: OperatedJob, headers: dict[str, str]
) -> None:
    assert pressed(job, "retry", **headers).status_code == 303
    assert len(job.runs()) == 1


# What they do


def test_retry_starts_a_run_that_says_who_asked(job: OperatedJob) -> None:
    job.failed()
    answer = pressed(job, "retry")

    assert answer.headers["location"] == f"/jobs/{job.id}?done=retry"
    [_, run] = job.runs()
    assert (run.state, run.asked_by) == ("SCHEDULED", "operator anna")
    words = Read(asked(job, path=answer.headers["location"]).text).words
    assert "A new run is asked for." in words
    assert "operator anna" in words


def test_a_second_retry_is_refused_with_the_reason_and_a_way_back(job: OperatedJob) -> None:
    pressed(job, "retry")
    answer = pressed(job, "retry")

    page = Read(answer.text)
    assert (answer.status_code, len(job.runs())) == (409, 1)
    assert "is Scheduled: wait" in page.words
    assert [one["href"] for tag, one in page.tags if tag == "a"] == [f"/jobs/{job.id}"]


def test_cancel_ends_what_goes_on_and_says_so(job: OperatedJob) -> None:
    job.asked_for()
    answer = pressed(job, "cancel")

    assert answer.headers["location"] == f"/jobs/{job.id}?done=cancel"
    [run] = job.runs()
    assert (run.state, run.cancelled_by) == ("CANCELLED", "operator anna")
    assert pressed(job, "cancel").headers["location"].endswith("done=nothing")


def test_looking_starts_nothing(job: OperatedJob) -> None:
    for button in ("retry", "cancel"):
        assert asked(job, path=f"/jobs/{job.id}/{button}").status_code == 405

    assert job.runs() == []


@pytest.mark.parametrize(
    ("path", "status"),
    [("/jobs/6999999", 404), ("/jobs/0", 422), ("/jobs/x", 422), (f"/jobs/{'9' * 30}", 422)],
)
def test_a_job_that_is_not_there_is_a_page_that_says_so(
    job: OperatedJob, path: str, status: int
) -> None:
    answer = asked(job, path=path)

    assert (answer.status_code, answer.headers["content-type"]) == (
        status,
        "text/html; charset=utf-8",
    )
    assert Read(answer.text).names >= {"h1", "p"}


def test_what_an_address_says_is_never_shown(job: OperatedJob) -> None:
    text = asked(job, path=f"/jobs/{job.id}?done=You+won").text

    assert "You" not in text
