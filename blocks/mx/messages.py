"""Messages that ask for a processing job: SynchWeb's, zocalo.go's, and a recipe's step.

SynchWeb sends `{"parameters": {"ispyb_process": 4024}}` and nothing else; `zocalo.go -p 4024` adds
`"recipes": []` and texts for numbers. Zocalo's dispatcher sends a whole recipe with a pointer to
the step that is meant, and the header `workflows-recipe` (`workflows/recipe/wrapper.py`).
"""

import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, cast

from pydantic import Field, ValidationError

from blocks.errors import InvalidRequest
from blocks.record import Record

JOB_ID = ("ispyb_process", "ispyb_reprocessing_id")  # the second is what older senders say
OF_A_STEP = (*JOB_ID, "rpid")
READ = (
    *OF_A_STEP,
    "working_directory",
    "results_directory",
    "program",
    "cmdline",
    "environment",
    "timeout",
    "store_result",
)
RECIPE_HEADER = "workflows-recipe"
LARGEST_ID = 2**32 - 1
LONGEST_VALUE = 4_096  # characters, with the environment filled in
DEEPEST = 50  # nested; what a recipe never is, and what pydantic and Prefect can pass on
LONGEST_BODY = 1_000_000  # bytes; a recipe has some ten thousand
REFERENCE = re.compile(r"\$(?:\{(\w+)\}|(\w+))")
YES = ("true", "1", "yes")


class RecipeStep(Record):
    """What a recipe of zocalo says of the step that we are."""

    working_directory: str | None = Field(
        default=None, max_length=4096, description="inside the visit; ours unless given"
    )
    results_directory: str | None = Field(
        default=None, max_length=4096, description="inside the visit; ours unless given"
    )
    program: str | None = Field(
        default=None, max_length=255, description="what AutoProcProgram.processingPrograms says"
    )
    command_line: str | None = Field(
        default=None, max_length=255, description="shown until the real one is known"
    )
    environment: dict[str, str] = Field(
        default_factory=dict[str, str], description="shown with the attempt as k=v"
    )
    timeout_s: float | None = Field(
        default=None, gt=0, le=30 * 86_400, description="of the engine, in seconds"
    )
    store_result: str | None = Field(
        default=None, max_length=255, description="name of the environment that gets the attempt"
    )
    broker: str = Field(
        default="broker", max_length=255, description="block of the broker that it came through"
    )
    message: dict[str, Any] = Field(
        default_factory=dict[str, Any], description="the whole message, for the steps after this"
    )


class JobMessage(Record):
    """A message that asks for one processing job."""

    job_id: int = Field(ge=1, le=LARGEST_ID)
    step: RecipeStep | None = Field(default=None, description="of a recipe-wrapped message")


def read_message(body: bytes, headers: Mapping[str, Any]) -> JobMessage | None:
    """Return what a message asks for; None if it is for somebody else.

    Args:
        body: As it came.
        headers: The broker's; AMQP has typed ones, STOMP texts.

    Raises:
        InvalidRequest: it is no message, or the job it names is none. `job_of` may still find
            which job's owner should hear of it.
    """
    content = _object(body)
    if str(headers.get(RECIPE_HEADER, "")).lower() in YES:
        return _wrapped(content)
    parameters = _nested(content, "parameters")
    if not any(name in parameters for name in JOB_ID):
        return None
    if content.get("recipes") or content.get("custom_recipe"):
        return None  # whoever names a recipe wants zocalo's dispatcher, not the job's own
    return JobMessage(job_id=_job_id(parameters, JOB_ID))


def job_of(body: bytes) -> int | None:
    """Return the job that a message names, of one that cannot be used otherwise."""
    try:
        content = _object(body)
        if "recipe" in content:
            return _job_id(_said(content, _step(content)), OF_A_STEP)
        return _job_id(_nested(content, "parameters"), JOB_ID)
    except InvalidRequest:
        return None


def _wrapped(content: dict[str, Any]) -> JobMessage:
    _require_storable(content)
    step = _step(content)
    said = _said(content, step)
    given = {
        "working_directory": said.get("working_directory"),
        "results_directory": said.get("results_directory"),
        "program": said.get("program"),
        "command_line": said.get("cmdline"),
        "environment": _environment(said.get("environment")),
        "timeout_s": said.get("timeout", _nested(step, "job_parameters").get("timeout")),
        "store_result": said.get("store_result"),
        "message": content,
    }
    try:
        read = RecipeStep.model_validate(given)
    except ValidationError as error:
        places = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        msg = f"the recipe's step cannot be used: {places}"
        raise InvalidRequest(msg) from error
    return JobMessage(job_id=_job_id(said, OF_A_STEP), step=read)


def _step(content: Mapping[str, Any]) -> dict[str, Any]:
    pointer = str(content.get("recipe-pointer"))
    step = _nested(_nested(content, "recipe"), pointer)
    if not step:
        msg = f"the recipe has no step {pointer[:80]}"
        raise InvalidRequest(msg)
    return step


def _said(content: Mapping[str, Any], step: Mapping[str, Any]) -> dict[str, Any]:
    """Return what we read of the step's parameters, with `$name` from the environment.

    The payload's win.
    """
    known = _nested(content, "environment")
    given = _nested(step, "parameters") | _nested(content, "payload")
    return {name: _filled(given[name], known) for name in READ if name in given}


def _filled(value: Any, environment: Mapping[str, Any]) -> Any:
    """Return a value with `$name` and `${name}` filled in; what is not known stays.

    Raises:
        InvalidRequest: it becomes too long: a small message must not fill the memory.
    """
    if not isinstance(value, str):
        return value
    length = 0

    def fill(found: re.Match[str]) -> str:
        nonlocal length
        text = str(environment.get(found[1] or found[2], found[0]))
        length += len(text)
        if length > LONGEST_VALUE:
            msg = f"a parameter of the recipe's step is longer than {LONGEST_VALUE} characters"
            raise InvalidRequest(msg)
        return text

    return REFERENCE.sub(fill, value)


def _environment(value: Any) -> Any:
    """Return what is shown as k=v; zocalo's recipes have an object, an empty text, or null."""
    if not isinstance(value, dict):
        return {} if value in (None, "") else {"environment": str(value)}
    return {name: str(one) for name, one in cast("dict[str, Any]", value).items()}


def _nested(content: Mapping[str, Any], name: str) -> dict[str, Any]:
    found = content.get(name)
    return cast("dict[str, Any]", found) if isinstance(found, dict) else {}


def _object(body: bytes) -> dict[str, Any]:
    if len(body) > LONGEST_BODY:
        msg = f"a body of {len(body)} bytes is no message; {LONGEST_BODY} are the most"
        raise InvalidRequest(msg)
    try:
        content = json.loads(body)
    except (ValueError, RecursionError) as error:
        msg = f"the body is not JSON: {error}"
        raise InvalidRequest(msg) from error
    if not isinstance(content, dict):
        msg = f"the body is a JSON {type(content).__name__}, not an object"
        raise InvalidRequest(msg)
    return cast("dict[str, Any]", content)


def _require_storable(content: dict[str, Any]) -> None:
    """Refuse what no database can hold as JSON: NaN, NUL, half a surrogate pair, a deep nest.

    Raises:
        InvalidRequest: it has one of them.
    """
    if _depth(content) > DEEPEST:
        msg = f"the recipe cannot be kept: it is nested deeper than {DEEPEST}"
        raise InvalidRequest(msg)
    try:
        text = json.dumps(content, allow_nan=False, ensure_ascii=False)
        text.encode()
    except (ValueError, RecursionError) as error:
        msg = f"the recipe cannot be kept: {error}"
        raise InvalidRequest(msg) from error
    if "\\u0000" in text:
        msg = "the recipe cannot be kept: it has a NUL character"
        raise InvalidRequest(msg)


def _depth(value: Any) -> int:
    """Return how deep a JSON value is nested, looked at level by level."""
    depth, level = 0, [value]
    while level:
        depth += 1
        inner = list[Any]()
        for one in level:
            if isinstance(one, dict):
                inner += cast("dict[str, Any]", one).values()
            elif isinstance(one, list):
                inner += cast("list[Any]", one)
        level = inner
    return depth


def _job_id(parameters: Mapping[str, Any], names: Sequence[str]) -> int:
    name = next((name for name in names if parameters.get(name) is not None), names[0])
    value = parameters.get(name)
    if isinstance(value, float) and math.isfinite(value) and value.is_integer():
        value = int(value)
    text = str(value).strip()
    number = (
        int(text) if text.isascii() and text.isdigit() and len(text) <= len("4294967295") else 0
    )
    if isinstance(value, bool) or not 1 <= number <= LARGEST_ID:
        msg = f"{name} is {str(value)[:80]!r}, not the id of a processing job"
        raise InvalidRequest(msg)
    return number
