"""prefect.yaml and the forms that Prefect's page makes of flows and blocks."""

import inspect
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import yaml

REPOSITORY = Path(__file__).parents[2]
PREFECT_YAML = yaml.safe_load((REPOSITORY / "prefect.yaml").read_text())
DEPLOYMENTS: list[dict[str, Any]] = PREFECT_YAML["deployments"]
ENTRYPOINTS = sorted({one["entrypoint"] for one in DEPLOYMENTS})
URL = "mysql+pymysql://reader:hunter2@ispyb/ispyb"
PROCESSING_URL = "mysql+pymysql://zocalo:swordfish@ispyb/ispyb"


def flow_of(entrypoint: str) -> Any:
    module, _, name = entrypoint.rpartition(".")
    return getattr(import_module(module), name)


def form_of(entrypoint: str) -> dict[str, Any]:
    from prefect.utilities.callables import parameter_schema  # noqa: PLC0415 - loads Prefect

    return parameter_schema(flow_of(entrypoint)).model_dump()


def fields_of(schema: dict[str, Any], kinds: str) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, record in schema[kinds].items():
        for field, form in record["properties"].items():
            yield f"{name}.{field}", form


def title(deployment: dict[str, Any]) -> str:
    return f"{deployment['entrypoint']}/{deployment['name']}"


def test_every_flow_has_a_deployment() -> None:
    files = sorted((REPOSITORY / "flows").glob("*.py"))

    flows = [f"flows.{path.stem}.{path.stem}" for path in files if path.stem != "__init__"]

    assert flows == ENTRYPOINTS


@pytest.mark.parametrize("entrypoint", ENTRYPOINTS)
def test_an_entrypoint_is_a_module_path(entrypoint: str) -> None:
    # With a file, Prefect puts flows/ first on sys.path: flows/queue.py is `queue` then.
    assert not set("/:\\") & set(entrypoint)
    assert ".py" not in entrypoint


@pytest.mark.parametrize("entrypoint", ENTRYPOINTS)
def test_an_entrypoint_is_a_flow_of_that_name(entrypoint: str) -> None:
    from prefect import Flow  # noqa: PLC0415

    flow = flow_of(entrypoint)

    assert isinstance(flow, Flow)
    assert flow.name.replace("-", "_") == entrypoint.rpartition(".")[2]


@pytest.mark.parametrize("deployment", DEPLOYMENTS, ids=title)
def test_the_parameters_of_a_deployment_are_those_of_its_flow(deployment: dict[str, Any]) -> None:
    signature = inspect.signature(flow_of(deployment["entrypoint"]).fn)

    assert signature.bind_partial(**deployment.get("parameters", {}))


@pytest.mark.parametrize("deployment", DEPLOYMENTS, ids=title)
def test_a_schedule_has_a_slug_and_all_parameters(deployment: dict[str, Any]) -> None:
    # Without a slug, each `prefect deploy` adds the schedule once more.
    signature = inspect.signature(flow_of(deployment["entrypoint"]).fn)
    usual = deployment.get("parameters", {})
    for schedule in deployment.get("schedules", []):
        assert schedule["slug"]
        assert signature.bind(**(usual | schedule.get("parameters", {})))


def test_lost_attempts_are_looked_for_every_five_minutes_and_nights_go_over_all() -> None:
    scheduled = {title(one): one["schedules"] for one in DEPLOYMENTS if "schedules" in one}

    assert sorted(scheduled) == [
        "flows.nightly_update.nightly_update/every-night",
        "flows.reconcile_jobs.reconcile_jobs/every-5-minutes",
    ]
    [night], [five_minutes] = (scheduled[name] for name in sorted(scheduled))
    assert (night["cron"], night["timezone"]) == ("0 20 * * *", "UTC")
    assert five_minutes["interval"] == 300


def test_what_a_night_starts_waits_for_what_people_start() -> None:
    queues = {title(one): one["work_pool"].get("work_queue_name") for one in DEPLOYMENTS}

    def of(queue: str) -> set[str]:
        return {name.rpartition(".")[2] for name, own in queues.items() if own == queue}

    assert of("night") == {"call_batch/default"}
    assert of("nights") == {
        "nightly_update/every-night",
        "update_all_schemes/default",
        "update_assemblies/default",
        "update_scheme/default",
    }


@pytest.mark.parametrize(
    "flow", ["update_scheme", "update_all_schemes", "update_assemblies", "nightly_update"]
)
def test_the_form_of_a_night_has_what_an_operator_asks_for(flow: str) -> None:
    form = form_of(f"flows.{flow}.{flow}")["properties"]
    asked = {"limit", "force", "dry_run", "priority", "work_queue", "since", "fan_out"}

    assert asked <= set(form)
    assert {"database", "databases"} & set(form)
    assert (form["limit"]["anyOf"][0]["minimum"], form["dry_run"]["default"]) == (1, False)


def test_the_engines_of_a_night_are_a_list_to_choose_from() -> None:
    kinds = form_of("flows.update_scheme.update_scheme")["definitions"]
    fields = kinds["FanOut"]["properties"]

    assert kinds["Engine"]["enum"] == ["threads", "processes", "dask", "work pool"]
    assert [name for name, form in fields.items() if not form.get("description")] == []


def test_the_names_of_a_flow_s_deployments_differ() -> None:
    names = [title(one) for one in DEPLOYMENTS]

    assert sorted(names) == sorted(set(names))


@pytest.mark.parametrize("deployment", DEPLOYMENTS, ids=title)
def test_a_deployment_says_what_it_does_and_uses_the_pool_that_is_made(
    deployment: dict[str, Any],
) -> None:
    from deployments.register import POOL  # noqa: PLC0415 - loads Prefect

    assert deployment["description"].endswith(".")
    assert deployment["work_pool"]["name"] == POOL


def test_the_file_is_for_the_prefect_that_is_locked() -> None:
    lock = (REPOSITORY / "requirements.lock").read_text().splitlines()

    assert f"prefect=={PREFECT_YAML['prefect-version']}" in lock


@pytest.mark.parametrize("entrypoint", ENTRYPOINTS)
def test_every_parameter_of_a_form_is_described(entrypoint: str) -> None:
    parameters = form_of(entrypoint)["properties"]

    assert parameters
    assert [name for name, form in parameters.items() if not form.get("description")] == []


def test_every_field_of_the_records_in_a_form_is_described() -> None:
    fields = dict(fields_of(form_of("flows.create_job.create_job"), "definitions"))

    assert "SweepRequest.end_image" in fields
    assert [name for name, form in fields.items() if not form.get("description")] == []


@pytest.mark.parametrize(
    ("parameter", "bounds"),
    [
        ("job_id", {"type": "integer", "minimum": 1}),
        ("wait_for_rows_s", {"type": "number", "minimum": 0, "maximum": 3600, "default": 60.0}),
        ("ispyb", {"type": "string", "minLength": 1, "default": "ispyb"}),
        ("toolchain", {"type": "string", "minLength": 1, "default": "mx"}),
        ("integrations_on", {"enum": ["primary data collection", "own data collection"]}),
    ],
)
def test_the_form_of_reprocess_job_is_bounded(parameter: str, bounds: dict[str, Any]) -> None:
    form = form_of("flows.reprocess_job.reprocess_job")["properties"][parameter]

    assert form | bounds == form


def test_the_form_of_reprocess_job_needs_the_job_only() -> None:
    assert form_of("flows.reprocess_job.reprocess_job")["required"] == ["job_id"]


def test_the_form_of_create_job_needs_a_sweep_and_takes_no_unknown_field() -> None:
    form = form_of("flows.create_job.create_job")["definitions"]

    assert form["JobRequest"]["required"] == ["sweeps"]
    assert form["JobRequest"]["properties"]["sweeps"]["minItems"] == 1
    assert {kind["additionalProperties"] for kind in form.values()} == {False}


@pytest.mark.parametrize("kind", ["IspybDatabase", "Toolchain"])
def test_every_field_of_a_block_is_described(kind: str) -> None:
    fields = getattr(import_module("blocks.connections"), kind).model_json_schema()["properties"]

    assert len(fields) >= 5
    assert [name for name, form in fields.items() if not form.get("description")] == []


@pytest.mark.parametrize("shown", [repr, str, lambda block: block.model_dump_json()])
def test_a_block_does_not_show_its_urls(shown: Any) -> None:
    from blocks.connections import IspybDatabase  # noqa: PLC0415

    block = IspybDatabase.model_validate({"url": URL, "processing_url": PROCESSING_URL})

    assert block.url.get_secret_value() == URL
    assert [word for word in ("hunter2", "swordfish") if word in shown(block)] == []


def test_the_form_of_a_database_hides_its_urls() -> None:
    from blocks.connections import IspybDatabase  # noqa: PLC0415

    assert IspybDatabase.model_json_schema()["secret_fields"] == ["url", "processing_url"]
