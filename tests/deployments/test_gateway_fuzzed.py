"""The gateway, asked what nobody would ask: it never breaks, and answers as its page says."""

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.checks import CHECKS, load_all_checks
from schemathesis.generation import GenerationMode

from deployments.endpoints import API, ENDPOINTS
from tests.fakes.gateway import GatewayLab

pytest_plugins = ["tests.fakes.gateway_fixture"]
pytestmark = [pytest.mark.timeout(300), pytest.mark.filterwarnings("default")]
load_all_checks()
PROMISES = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
    "response_headers_conformance",
    "negative_data_rejection",
)
OPERATIONS = [
    *((one.method, one.path) for one in ENDPOINTS),
    ("GET", f"{API}/runs/{{run_id}}"),
    ("GET", f"{API}/reprocess/{{job_id}}"),
    ("GET", f"{API}/assemble/{{job_id}}"),
    ("POST", f"{API}/call-back"),
]
FUZZ = settings(
    max_examples=30,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture(scope="module")
def page(lab: GatewayLab) -> schemathesis.BaseSchema:
    return schemathesis.openapi.from_url(f"{lab.url}/openapi.json")


def sent(page: schemathesis.BaseSchema, at: tuple[str, str], token: str, how: settings) -> set[int]:
    """Send what fits the page and what does not; return the statuses of the answers."""
    operation, seen = page[at[1]][at[0]], set[int]()

    def send(case: schemathesis.Case) -> None:
        answer = case.call(headers={"Authorization": f"Bearer {token}"}, timeout=60)
        checks = PROMISES[:-1] if answer.status_code == 429 else PROMISES
        case.validate_response(answer, checks=CHECKS.get_by_names(checks))
        seen.add(answer.status_code)

    for mode in GenerationMode:
        strategy = operation.as_strategy(generation_mode=mode)
        how(given(case=strategy)(send))()
    return seen


@pytest.mark.parametrize("at", OPERATIONS, ids=" ".join)
def test_whoever_may_do_all_gets_an_answer_that_is_declared(
    at: tuple[str, str], page: schemathesis.BaseSchema, lab: GatewayLab
) -> None:
    statuses = sent(page, at, lab.tokens["lims"], FUZZ)

    assert 422 in statuses
    assert statuses & {200, 202, 404}
    assert max(statuses) < 500


@pytest.mark.parametrize("at", OPERATIONS, ids=" ".join)
def test_whoever_has_no_valid_token_gets_nothing(
    at: tuple[str, str], page: schemathesis.BaseSchema
) -> None:
    assert sent(page, at, "lf_of-nobody", settings(FUZZ, max_examples=5)) <= {401, 429}


def test_who_guesses_tokens_is_slowed_down_and_holds_nobody_else_up(lab: GatewayLab) -> None:
    at = "/api/v1.0/reprocess/1"
    wrong = {"Authorization": "Bearer lf_guessed"}
    guesses = [lab.ask("GET", at, by="", headers=wrong) for _ in range(30)]
    told = [one for one in guesses if one.status_code == 429]

    assert told
    assert int(told[-1].headers["retry-after"]) >= 1
    assert lab.ask("GET", at).status_code in (200, 404)


def test_no_answer_was_a_bug(lab: GatewayLab) -> None:
    assert "Traceback" not in lab.log
