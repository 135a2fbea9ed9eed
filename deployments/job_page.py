"""One page for an operator: a processing job with all that is known of it, and two buttons.

It needs no script. Every text on it may be a user's or an attacker's, so the template escapes all
of them, and the page may load nothing. A browser sends its password with every request, also one
that another site made it send; so the two deeds are done for requests from this page only.
"""

import base64
import hashlib
import logging
from collections.abc import Awaitable, Callable, Coroutine
from http import HTTPStatus
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

from fastapi import APIRouter, HTTPException, Request, Response
from fastapi import Path as InAddress
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, RedirectResponse
from fastapi.routing import APIRoute
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from blocks.errors import AlreadyRunning, DataError, LimsflowError, NoSuchRecord
from blocks.mx.store import IspybStore
from deployments.clients import Client
from deployments.job_control import OPERATOR, cancel_job, retry_job
from deployments.job_facts import JobFacts, facts_of_job
from deployments.job_runs import JobRuns
from tasks.flow_runs import OVER

logger = logging.getLogger(__name__)

HERE = Path(__file__).parent
STYLE = (HERE / "job_page.css").read_text(encoding="utf-8")
MOST_TOKENS = 60  # of a command; a DIALS import names every image
CHALLENGE = 'Basic realm="limsflow: the token is the user, the password is empty"'
DONE = {
    "retry": "A new run is asked for.",
    "cancel": "What went on is asked to end.",
    "nothing": "Nothing was open.",
}
COLOURS = {
    **dict.fromkeys(("success", "completed"), "good"),
    **dict.fromkeys(("failure", "failed", "crashed", "cancelled", "timedout"), "bad"),
    **dict.fromkeys(("running", "pending", "cancelling", "retrying", "late"), "busy"),
}
_STYLE_HASH = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
HEADERS = {
    "Content-Security-Policy": f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    # With none at all, a browser would not say either where a form was sent from.
    "Referrer-Policy": "same-origin",
    "Cache-Control": "no-store",
}
JobId = Annotated[int, InAddress(ge=1, le=2**32 - 1)]

_pages = Environment(
    loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True
)


def job_router(
    *,
    reader: Any,
    operator: Any,
    store: Callable[[], Awaitable[IspybStore]],
    runs: Callable[[], JobRuns],
    ispyb: str,
    right: str,
    address: str = "",
) -> APIRouter:
    """Return the page of a job, `/jobs/ID`, and its two deeds.

    Args:
        reader: `Depends(...)` that lets in who may look; gives the `Client`.
        operator: `Depends(...)` that lets in who may retry and cancel; gives the `Client`.
        store: Opens the ISPyB.
        runs: Prefect's, asked for at each request.
        ispyb: What flows call that ISPyB.
        right: That `operator` asks for; without it, the page has no buttons.
        address: Of the gateway, as browsers see it, where that is not what they say is the host.
    """
    router = APIRouter(route_class=_Page, include_in_schema=False)
    ours = urlsplit(address).netloc

    @router.get("/jobs/{job_id}")
    async def job(job_id: JobId, done: str = "", client: Client = reader) -> HTMLResponse:  # pyright: ignore[reportUnusedFunction]
        facts = await facts_of_job(
            await store(), job_id, runs=runs(), ispyb=ispyb, with_logs=True
        )  # fmt: skip
        return _of_job(facts, notice=DONE.get(done, ""), may_operate=client.may(right))

    @router.post("/jobs/{job_id}/retry")
    async def retry(job_id: JobId, request: Request, client: Client = operator) -> Response:  # pyright: ignore[reportUnusedFunction]
        require_own_page(request, ours)
        await retry_job(await store(), runs(), job_id, by=_name(client), ispyb=ispyb)
        return _back(job_id, "retry")

    @router.post("/jobs/{job_id}/cancel")
    async def cancel(job_id: JobId, request: Request, client: Client = operator) -> Response:  # pyright: ignore[reportUnusedFunction]
        require_own_page(request, ours)
        found = await cancel_job(await store(), runs(), job_id, by=_name(client), ispyb=ispyb)
        return _back(job_id, "cancel" if found.done else "nothing")

    return router


def require_own_page(request: Request, ours: str = "") -> None:
    """Refuse a form that another site made a browser send; raise an answer of 403.

    Browsers say where a form was sent from: the newer ones in `Sec-Fetch-Site` (where they trust
    the connection), all in `Origin`. A request that says neither is of no browser; it must show
    its token as a bearer's, which no browser does by itself.

    Args:
        request: Of a deed.
        ours: Host and port of the gateway, as browsers see them; empty: what they say.
    """
    origin = request.headers.get("origin")
    site = request.headers.get("sec-fetch-site")
    bearer = request.headers.get("authorization", "").lower().startswith("bearer ")
    hosts = {request.headers.get("host", ""), ours} - {""}
    if site is not None:
        is_own = site == "same-origin"
    elif origin is not None:
        is_own = _host_of(origin) in hosts
    else:
        is_own = bearer
    if not is_own:
        msg = "this was not sent from the page of the job: open that, and press its button"
        raise HTTPException(HTTPStatus.FORBIDDEN, msg)


def _host_of(origin: str) -> str:
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return ""


def _name(client: Client) -> str:
    return f"{OPERATOR} {client.name}"


def _back(job_id: int, done: str) -> RedirectResponse:
    """Send the browser to the page, so that loading it again repeats nothing."""
    where = f"/jobs/{job_id}?done={done}"
    return RedirectResponse(where, HTTPStatus.SEE_OTHER, headers=HEADERS)


def _of_job(facts: JobFacts, *, notice: str, may_operate: bool) -> HTMLResponse:
    waits = not facts.attempts or any(run.state not in OVER for run in facts.runs)
    state = "waiting" if waits else facts.attempts[-1].state.value
    return _page(
        HTTPStatus.OK,
        title=f"Job {facts.job}: {state}",
        facts=facts,
        state=state,
        notice=notice,
        may_operate=may_operate,
        address=f"/jobs/{facts.job}",
    )


def _page(
    status: HTTPStatus, headers: dict[str, str] | None = None, **given: object
) -> HTMLResponse:
    usual = {"style": STYLE, "colours": COLOURS, "most_tokens": MOST_TOKENS, "refusal": ""}
    text = _pages.get_template("job_page.html").render(**(usual | given))
    return HTMLResponse(text, status, headers=HEADERS | (headers or {}))


class _Page(APIRoute):
    """A route whose refusals are pages too."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return what answers a request."""
        handler = super().get_route_handler()

        async def answer(request: Request) -> Response:
            try:
                return await handler(request)
            except (HTTPException, RequestValidationError, LimsflowError) as error:
                return _refusal(request, error)

        return answer


def _refusal(
    request: Request, error: HTTPException | RequestValidationError | LimsflowError
) -> HTMLResponse:
    status, said, headers = HTTPStatus.UNPROCESSABLE_ENTITY, str(error), dict[str, str]()
    if isinstance(error, HTTPException):
        status, said, headers = HTTPStatus(error.status_code), error.detail, {}
        headers = dict(error.headers or {})
        if status is HTTPStatus.UNAUTHORIZED:  # so that a browser asks for the token
            headers["WWW-Authenticate"] = CHALLENGE
    elif isinstance(error, RequestValidationError):
        said = "a job's number is a whole one, from 1 on"
    else:
        status = _status_of(error)
        if status is HTTPStatus.SERVICE_UNAVAILABLE:
            # A driver's words are for whoever runs the gateway.
            logger.warning("%s: %s", type(error).__name__, error)
            said = "The database or Prefect does not answer: try again in a while."
    number = request.path_params.get("job_id", "")
    back = f"/jobs/{number}" if request.method == "POST" and str(number).isdecimal() else ""
    return _page(status, headers, title=status.phrase, refusal=said, back=back)


def _status_of(error: LimsflowError) -> HTTPStatus:
    if isinstance(error, NoSuchRecord):
        return HTTPStatus.NOT_FOUND
    if isinstance(error, AlreadyRunning):
        return HTTPStatus.CONFLICT
    if isinstance(error, DataError):
        return HTTPStatus.UNPROCESSABLE_ENTITY
    return HTTPStatus.SERVICE_UNAVAILABLE
