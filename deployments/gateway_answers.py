"""What the gateway answers, what it writes down of a request, and the page that says all this."""

import logging
import time
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any
from uuid import UUID

from fastapi import FastAPI, Request
from fastapi.encoders import jsonable_encoder
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.utils import get_openapi
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from pydantic.json_schema import models_json_schema
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from blocks.errors import (
    AlreadyRunning,
    InconsistentInput,
    InvalidRequest,
    LimsflowError,
    NoSuchRecord,
)
from blocks.record import Record
from deployments.gateway_requests import Unfit
from deployments.metrics import requests
from tasks.flow_runs import Run

API_TITLE = "limsflow"
RETRY_AFTER_S = 5
KINDS = {
    HTTPStatus.BAD_REQUEST: "bad-request",
    HTTPStatus.UNAUTHORIZED: "not-authenticated",
    HTTPStatus.FORBIDDEN: "not-allowed",
    HTTPStatus.NOT_FOUND: "not-found",
    HTTPStatus.METHOD_NOT_ALLOWED: "wrong-method",
    HTTPStatus.REQUEST_TIMEOUT: "too-slow",
    HTTPStatus.CONFLICT: "conflict",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "too-large",
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE: "not-json",
    HTTPStatus.UNPROCESSABLE_ENTITY: "invalid",
    HTTPStatus.TOO_MANY_REQUESTS: "too-often",
    HTTPStatus.SERVICE_UNAVAILABLE: "unavailable",
}
NOWHERE = "there is no such address: see /openapi.json"
WRONG_METHOD = "this address takes another method: see /openapi.json"

access = logging.getLogger("deployments.gateway.access")
logger = logging.getLogger(__name__)


class Refusal(Record):
    """Why a request was not done."""

    error: str = Field(description="one sentence for a person")
    kind: str = Field(description="one word for a program")
    places: list[dict[str, str]] = Field(
        default_factory=list[dict[str, str]], description="of a body or address: where, and what"
    )


class RunState(Record):
    """A run, where it is looked at, and its state in Prefect."""

    run_id: UUID
    run_url: str = Field(description="here, for a program")
    page: str = Field(description="in Prefect, for a person; empty if Prefect names none")
    name: str
    state: str = Field(description="SCHEDULED, PENDING, RUNNING, COMPLETED, FAILED, CRASHED ...")
    state_name: str = Field(description="the same in Prefect's finer words, e.g. Late")
    message: str = Field(description="of the state")
    is_over: bool = Field(description="whether it will do nothing more")


def run_state(run: Run, address: str) -> RunState:
    """Return a run as the gateway at this address says it."""
    return RunState(
        run_id=run.id,
        run_url=f"{address}/api/v1.0/runs/{run.id}",
        page=run.page,
        name=run.name,
        state=run.state,
        state_name=run.state_name,
        message=run.message,
        is_over=run.is_over,
    )


def answer(
    found: Record, status: HTTPStatus = HTTPStatus.OK, headers: Mapping[str, str] | None = None
) -> JSONResponse:
    """Return a record as an answer."""
    return JSONResponse(jsonable_encoder(found), status_code=status, headers=dict(headers or {}))


def refusals(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return what the OpenAPI page says of these statuses."""
    patience = {"Retry-After": {"description": "seconds", "schema": {"type": "integer"}}}
    later = {429: {"headers": patience}, 503: {"headers": patience}}
    return {
        status: {
            "model": Refusal,
            "description": HTTPStatus(status).phrase,
            **later.get(status, {}),
        }
        for status in sorted(statuses)
    }


# Errors


def add_error_handlers(app: FastAPI) -> None:
    """Give every error the same shape."""
    app.add_exception_handler(HTTPException, _of_http)
    app.add_exception_handler(RequestValidationError, _of_address)
    app.add_exception_handler(LimsflowError, _of_limsflow)
    app.add_exception_handler(Exception, _of_bug)


def _refused(
    status: int,
    error: str,
    *,
    kind: str = "",
    places: list[dict[str, str]] | None = None,
    headers: Mapping[str, str] | None = None,
) -> JSONResponse:
    told = kind or KINDS.get(HTTPStatus(status), "refused")
    refusal = Refusal(error=error, kind=told, places=places or [])
    return answer(refusal, HTTPStatus(status), headers)


def _of_http(_request: Request, error: Any) -> JSONResponse:
    phrase = HTTPStatus(error.status_code).phrase
    usual = {HTTPStatus.NOT_FOUND: NOWHERE, HTTPStatus.METHOD_NOT_ALLOWED: WRONG_METHOD}
    plain = error.detail == phrase
    said = usual.get(HTTPStatus(error.status_code), phrase) if plain else error.detail
    return _refused(error.status_code, said, headers=error.headers)


def _of_address(_request: Request, error: Any) -> JSONResponse:
    places = [
        {"place": ".".join(str(part) for part in one["loc"])[:200], "error": str(one["msg"])}
        for one in error.errors()
    ]
    said = f"the address is not valid: {places[0]['place']}: {places[0]['error']}"
    return _refused(HTTPStatus.UNPROCESSABLE_ENTITY, said, places=places)


def _of_limsflow(_request: Request, error: Exception) -> JSONResponse:
    status = _status_of(error)
    if status is HTTPStatus.SERVICE_UNAVAILABLE:
        # A driver's words are for whoever runs the gateway, not for whoever asks it.
        logger.warning("%s: %s", type(error).__name__, error)
        said = "a database or Prefect does not answer: ask again, with the same Idempotency-Key"
        return _refused(status, said, headers={"Retry-After": str(RETRY_AFTER_S)})
    places = error.places if isinstance(error, Unfit) else []
    return _refused(status, str(error), places=places)


def _status_of(error: Exception) -> HTTPStatus:
    if isinstance(error, NoSuchRecord):
        return HTTPStatus.NOT_FOUND
    if isinstance(error, AlreadyRunning | InconsistentInput):
        return HTTPStatus.CONFLICT
    if isinstance(error, InvalidRequest):
        return HTTPStatus.UNPROCESSABLE_ENTITY
    return HTTPStatus.SERVICE_UNAVAILABLE


def _of_bug(_request: Request, _error: Exception) -> JSONResponse:
    """Answer; the error itself goes on to the log."""
    said = "this is a bug of the gateway; its log says more"
    return _refused(HTTPStatus.INTERNAL_SERVER_ERROR, said, kind="bug")


# What is written down of a request


class Watched:
    """Counts and logs every request; never its address, its headers or its body.

    What is logged is the declared path, not what was sent: a query or a wrong address may hold a
    secret.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer as the app does."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status, began = HTTPStatus.INTERNAL_SERVER_ERROR.value, time.monotonic()

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, sending)
        finally:
            _write_down(scope, status, time.monotonic() - began)


def _write_down(scope: Scope, status: int, seconds: float) -> None:
    path = getattr(scope.get("route"), "path", "(no such address)")
    requests.labels(endpoint=path, status=str(status)).inc()
    noted: dict[str, Any] = scope.get("state", {})
    about = " ".join(str(noted[name]) for name in ("client_name", "run_id") if name in noted)
    method = scope["method"] if scope["method"] in METHODS else "(other)"
    access.info("%s %s %d %.0f ms %s", method, path, status, seconds * 1000, about or "-")


METHODS = {"GET", "PUT", "POST", "HEAD", "OPTIONS", "DELETE", "PATCH"}


def note(request: Request, **facts: object) -> None:
    """Say what the log shall say of a request: `client_name`, `run_id`."""
    for name, value in facts.items():
        setattr(request.state, name, value)


# The page that says all this

_BODY_TEMPLATE = "#/components/schemas/{model}"


def body_reference(model: type[BaseModel]) -> dict[str, Any]:
    """Return what an operation's page says of its body; its schema is added by `openapi_of`."""
    reference = {"$ref": _BODY_TEMPLATE.format(model=model.__name__)}
    content = {"application/json": {"schema": reference}}
    return {"requestBody": {"required": True, "content": content}}


def openapi_of(app: FastAPI, bodies: list[type[BaseModel]]) -> dict[str, Any]:
    """Return the OpenAPI page: FastAPI's, and the bodies that we read ourselves."""
    page = get_openapi(
        title=API_TITLE,
        version=app.version,
        description=app.description,
        routes=app.routes,
    )
    asked = [(one, "validation") for one in bodies]
    _, schemas = models_json_schema(asked, ref_template=_BODY_TEMPLATE)  # pyright: ignore[reportArgumentType]
    components: dict[str, Any] = page.setdefault("components", {})
    components.setdefault("schemas", {}).update(schemas.get("$defs", {}))
    components["securitySchemes"] = {
        "bearer": {"type": "http", "scheme": "bearer"},
        "basic": {"type": "http", "scheme": "basic", "description": "token:empty password"},
    }
    return page


STARTED: dict[str, Any] = {
    "description": "The run that was asked for.",
    "headers": {
        "Location": {
            "description": "where the run is looked at",
            "required": True,
            "schema": {"type": "string"},
        },
        "Idempotent-Replayed": {
            "description": "there, if an earlier request had it made",
            "schema": {"type": "string", "const": "true"},
        },
    },
}
SECURED: dict[str, Any] = {"security": [{"bearer": []}, {"basic": []}]}
