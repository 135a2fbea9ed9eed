"""`limsflow gateway`: what a LIMS may ask for over HTTP, made from the flows themselves."""

import argparse
import asyncio
import json
import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from importlib.metadata import version
from typing import Annotated, Any
from uuid import UUID

import httpx
import uvicorn
from fastapi import Depends, FastAPI, Header, Path, Request
from fastapi.responses import JSONResponse
from prefect.settings import get_current_settings

from blocks.errors import InvalidRequest
from deployments import call_backs
from deployments.call_backs import CallBack, Taken
from deployments.clients import Buckets, Client, Clients, clients_path
from deployments.embedded import free_port
from deployments.endpoints import API, CALL_BACK, ENDPOINTS, OPERATE, READ, Endpoint
from deployments.gateway_answers import (
    SECURED,
    STARTED,
    RunState,
    Watched,
    add_error_handlers,
    answer,
    body_reference,
    note,
    openapi_of,
    refusals,
)
from deployments.gateway_requests import (
    Gate,
    body_of,
    checked,
    idempotency_key,
    parameters_of,
    require,
)
from deployments.gateway_runs import (
    Desk,
    Lims,
    ProcessingJobState,
    Started,
    UserJobState,
)
from deployments.job_page import job_router
from deployments.job_runs import JobRuns, job_runs
from deployments.metrics import serve_metrics

ABOUT = """Start and watch what a laboratory's LIMS asks for.

A request that is sent again with the same header `Idempotency-Key` is the same run. Tokens are
made with `limsflow client add`; this page needs none.
"""
AT_ONCE = 512  # connections
END_S = 40  # a request that goes on is answered before the end
RIGHTLESS, REFUSED = (401, 429), (400, 403, 404, 408, 409, 413, 415, 422, 503)
Id = Annotated[int, Path(ge=1, le=2**31 - 1)]
Key = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        description="what the LIMS calls this request; sent again, it is the same run",
        json_schema_extra={"minLength": 1, "maxLength": 200},
    ),
]
OpenRuns = Callable[[], AbstractAsyncContextManager[JobRuns]]


@dataclass
class Facility:
    """What the pages of an app share: `app.state.facility`."""

    gate: Gate
    lims: Lims
    address: str
    desk: Desk = field(init=False)  # there while the app runs

    @asynccontextmanager
    async def at_work(self, open_runs: OpenRuns) -> AsyncGenerator[None, None]:
        """Be connected with Prefect while the block runs."""
        async with open_runs() as runs:
            self.desk = Desk(runs, self.lims, self.address)
            yield


def make_app(
    clients: Clients,
    *,
    ispyb: str = "ispyb",
    entero: str = "entero",
    address: str = "",
    endpoints: tuple[Endpoint, ...] = ENDPOINTS,
    open_runs: OpenRuns = job_runs,
) -> FastAPI:
    """Return the gateway.

    Args:
        clients: Who may ask.
        ispyb: Block of the ISPyB whose jobs are told of.
        entero: Block of the EnteroBase whose jobs are told of, and closed by call-backs.
        address: Of the gateway, as clients see it; empty: answers hold paths only.
        endpoints: What can be started.
        open_runs: Connects with Prefect.
    """
    facility = Facility(
        gate=Gate(clients, Buckets()), lims=Lims(ispyb=ispyb, entero=entero), address=address
    )

    @asynccontextmanager
    async def living(_app: FastAPI) -> AsyncGenerator[None, None]:
        async with facility.at_work(open_runs):
            yield

    app = FastAPI(
        title="limsflow",
        version=version("limsflow"),
        description=ABOUT,
        lifespan=living,
        docs_url=None,  # FastAPI's pages load their scripts from the internet
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,  # an address is made of what the client says is the host
    )
    app.state.facility = facility
    for endpoint in endpoints:
        _add_start(app, facility, endpoint)
    _add_states(app, facility)
    _add_call_back(app, facility)
    _add_job_page(app, facility, ispyb)
    _add_page(app, [*(one.body for one in endpoints), CallBack])
    add_error_handlers(app)
    app.add_middleware(Watched)
    return app


def _admitted(facility: Facility, right: str = "") -> Any:
    """Return what lets a request in, before anything else of it is looked at."""

    def admitted(request: Request) -> Client:
        client = facility.gate.admit(request)
        note(request, client_name=client.name)
        if right:
            require(client, right)
        return client

    return Depends(admitted)


def _add_start(app: FastAPI, facility: Facility, endpoint: Endpoint) -> None:
    admitted = _admitted(facility, endpoint.right)

    async def start(
        request: Request,
        client: Client = admitted,
        key: Key = None,  # noqa: ARG001 - for the page; it is read from the request, where it may stand twice
    ) -> JSONResponse:
        named = idempotency_key(request)
        parameters = await parameters_of(request, endpoint)
        started = await facility.desk.start(endpoint, client, parameters, named)
        note(request, run_id=started.run_id)
        headers = {"Location": started.run_url}
        if started.replayed:
            headers["Idempotent-Replayed"] = "true"
        return answer(started, HTTPStatus.ACCEPTED, headers)

    summary, _, steps = (endpoint.function.__doc__ or "").partition("\n")
    app.add_api_route(
        endpoint.path,
        start,
        methods=[endpoint.method],
        status_code=HTTPStatus.ACCEPTED,
        response_model=Started,
        operation_id=endpoint.right,
        summary=summary,
        description=f"{_steps(steps)}\n\nStarts {endpoint.full_name}.",
        responses={202: STARTED, **refusals(*RIGHTLESS, *REFUSED)},
        openapi_extra={**body_reference(endpoint.body), **SECURED},
    )


def _steps(docstring: str) -> str:
    """Return what a flow's docstring says between its first line and its arguments."""
    return "\n".join(line.strip() for line in docstring.partition("Args:")[0].splitlines()).strip()


def _add_states(app: FastAPI, facility: Facility) -> None:
    anybody, reader = _admitted(facility), _admitted(facility, READ)
    told: dict[str, Any] = {
        "responses": refusals(*RIGHTLESS, 403, 404, 422, 503),
        "openapi_extra": SECURED,
    }

    @app.get(f"{API}/runs/{{run_id}}", response_model=RunState, operation_id="run", **told)
    async def run(run_id: UUID, client: Client = anybody) -> JSONResponse:  # pyright: ignore[reportUnusedFunction]
        """Return a run; without the right `read`, one that the client itself started."""
        return answer(await facility.desk.run(run_id, client))

    @app.get(
        f"{API}/reprocess/{{job_id}}",
        response_model=ProcessingJobState,
        operation_id="processing-job",
        **told,
    )
    async def processing_job(job_id: Id, _client: Client = reader) -> JSONResponse:  # pyright: ignore[reportUnusedFunction]
        """Return a processing job of ISPyB and its attempts."""
        return answer(await facility.desk.processing_job(job_id))

    @app.get(
        f"{API}/assemble/{{job_id}}", response_model=UserJobState, operation_id="user-job", **told
    )
    async def user_job(job_id: Id, _client: Client = reader) -> JSONResponse:  # pyright: ignore[reportUnusedFunction]
        """Return a job of EnteroBase and its runs."""
        return answer(await facility.desk.user_job(job_id))


def _add_call_back(app: FastAPI, facility: Facility) -> None:
    admitted = _admitted(facility, CALL_BACK)

    @app.post(
        call_backs.PATH,
        response_model=Taken,
        operation_id="call-back",
        responses=refusals(*RIGHTLESS, *REFUSED),
        openapi_extra={**body_reference(CallBack), **SECURED},
    )
    async def call_back(request: Request, _client: Client = admitted) -> JSONResponse:  # pyright: ignore[reportUnusedFunction]
        """Close a job of CRobot's, once."""
        raw = await body_of(request, call_backs.LARGEST_BODY)
        told = CallBack.model_validate(checked(raw, CallBack, free_text=None))
        return answer(await facility.desk.call_back(told))


def _add_job_page(app: FastAPI, facility: Facility, ispyb: str) -> None:
    """Add the page of a job, for people."""
    pages = job_router(
        reader=_admitted(facility, READ),
        operator=_admitted(facility, OPERATE),
        store=facility.lims.ispyb,
        runs=lambda: facility.desk.runs,
        ispyb=ispyb,
        right=OPERATE,
        address=facility.address,
    )
    app.include_router(pages)


def _add_page(app: FastAPI, bodies: list[Any]) -> None:
    page = openapi_of(app, bodies)
    app.openapi_schema = page

    @app.get("/openapi.json", include_in_schema=False)
    async def openapi() -> JSONResponse:  # pyright: ignore[reportUnusedFunction]
        return JSONResponse(page)


# The command


def gateway(options: argparse.Namespace) -> int:
    """Serve until a signal comes.

    Raises:
        InvalidRequest: no Prefect server is named, or the file of clients is none.
    """
    api = get_current_settings().api.url
    if not api:
        msg = "say which Prefect server: PREFECT_API_URL, like http://127.0.0.1:4200/api"
        raise InvalidRequest(msg)
    _log_plainly()
    port = options.port or free_port()
    host = f"[{options.host}]" if ":" in options.host else options.host
    address = (options.url or f"http://{host}:{port}").rstrip("/")
    app = make_app(
        Clients(clients_path(options.clients)),
        ispyb=options.ispyb,
        entero=options.entero,
        address=address,
    )
    try:
        serve_metrics(options.metrics_port, options.metrics_host)
    except OSError as error:
        msg = f"the metrics cannot be served at port {options.metrics_port}: {error.strerror}"
        raise InvalidRequest(msg) from error
    said = {"gateway": address, "page": f"{address}/openapi.json", "prefect": _without_user(api)}
    print(json.dumps(said) if options.json else _SERVED.format(**said), flush=True)
    server = uvicorn.Server(
        uvicorn.Config(
            app,
            host=options.host,
            port=port,
            log_config=None,
            access_log=False,  # it would log queries
            server_header=False,
            proxy_headers=False,  # whoever sends them chooses what they say
            limit_concurrency=AT_ONCE,
            timeout_graceful_shutdown=END_S,
        )
    )
    asyncio.run(server.serve())
    return 0 if server.started else 1


_SERVED = "The gateway: {gateway}, before Prefect at {prefect}. What it takes: {page}"


def _without_user(api: str) -> str:
    """Return an address without a user and a password."""
    return str(httpx.URL(api).copy_with(username=None, password=None, query=None))


def _log_plainly() -> None:
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s", force=True
    )
    for noisy in ("httpx", "httpcore", "sqlalchemy", "asyncio"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
