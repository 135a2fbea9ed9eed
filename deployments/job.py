"""`limsflow job create/argv/show`: jobs in a shell, without Prefect unless a block is named."""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from blocks.errors import InvalidRequest
from blocks.mx import dials, xia2
from blocks.mx.recipe import load_recipe
from blocks.mx.records import Attempt, JobRequest
from blocks.mx.store import IspybStore, open_store
from tasks.mx.report import shells_table
from tasks.mx.requests import create_job


def create(options: argparse.Namespace) -> int:
    """Create a job from its JSON description; print its id."""
    request = read_request(options.file)
    job_id = create_job(store_of(options.ispyb), request, recipes_directory=options.recipes)
    print(json.dumps({"job_id": job_id}) if options.json else job_id)
    return 0


def read_request(path: Path) -> JobRequest:
    """Return the request in a JSON file; `-` is standard input.

    Raises:
        InvalidRequest: the file cannot be read or is not a request; says where it is wrong.
    """
    try:
        text = sys.stdin.read() if str(path) == "-" else path.read_text(encoding="utf-8")
        return JobRequest.model_validate_json(text)
    except (OSError, UnicodeDecodeError) as error:
        msg = f"cannot read {path}: {error}"
        raise InvalidRequest(msg) from error
    except ValidationError as error:
        places = [e["loc"] for e in error.errors()]
        found = [
            f"{_place(e['loc'])}: {e['msg']}"
            for e in error.errors()
            # "sweeps: too few" is only the echo of a sweep that is wrong
            if not any(len(p) > len(e["loc"]) and p[: len(e["loc"])] == e["loc"] for p in places)
        ]
        msg = f"{path} is not a job: {'; '.join(found)}"
        raise InvalidRequest(msg) from error


def _place(location: tuple[int | str, ...]) -> str:
    return ".".join(map(str, location)) or "the file"


def argv(options: argparse.Namespace) -> int:
    """Print the command that would run, one token a line; run nothing."""
    job = store_of(options.ispyb).job(options.id)
    recipe = load_recipe(job.recipe, options.recipes)
    if recipe.engine == "xia2":
        lines = [xia2.command(job, recipe, n_processes=options.processes).argv]
    else:
        call = dials.dials_job(job, recipe, n_processes=options.processes)
        lines = [
            (command.program, *command.arguments)
            for step in dials.STEPS
            for command in dials.commands(step.name, call)
        ]
    if options.json:
        print(json.dumps(lines[0] if recipe.engine == "xia2" else lines))
    else:
        print("\n\n".join("\n".join(tokens) for tokens in lines))
    return 0


def show(options: argparse.Namespace) -> int:
    """Print a job's rows, attempts, results and files."""
    facts = job_facts(store_of(options.ispyb), options.id)
    print(json.dumps(facts, indent=2) if options.json else "\n".join(as_text(facts)))
    return 0


def job_facts(store: IspybStore, job_id: int) -> dict[str, Any]:
    """Return everything that ISPyB has of a job, as plain values."""
    job = store.job(job_id)
    return {
        "job": job.id,
        "recipe": job.recipe,
        "display_name": job.display_name,
        "sweeps": [str(sweep) for sweep in job.sweeps],
        "parameters": [p.model_dump() for p in job.parameters],
        "attempts": [_attempt_facts(store, attempt) for attempt in store.attempts(job_id)],
    }


def _attempt_facts(store: IspybStore, attempt: Attempt) -> dict[str, Any]:
    solution = store.solution(attempt.id)
    return {
        **attempt.model_dump(mode="json"),
        "flow_run_id": attempt.flow_run_id,
        "space_group": solution.space_group if solution else None,
        "unit_cell": str(solution.cell) if solution else None,
        "statistics": shells_table(solution.shells) if solution else [],
        "integrations": [
            {"data_collection": collection_id, **(found.model_dump() if found else {})}
            for collection_id, found in store.integrations(attempt.id)
        ],
        "messages": [m.model_dump(mode="json") for m in store.messages(attempt.id)],
        "files": [a.model_dump(mode="json") for a in store.attachments(attempt.id)],
    }


def as_text(facts: dict[str, Any]) -> list[str]:
    """Return the facts of a job as lines for a terminal."""
    lines = [f"processing job {facts['job']}  recipe {facts['recipe']}  {facts['display_name']}"]
    lines += [f"  {sweep}" for sweep in facts["sweeps"]]
    lines += [f"  {p['key']} = {p['value']}" for p in facts["parameters"]]
    if not facts["attempts"]:
        lines.append("  no attempt yet: waiting")
    for attempt in facts["attempts"]:
        lines += _attempt_text(attempt)
    return lines


def _attempt_text(attempt: dict[str, Any]) -> list[str]:
    lines = [
        "",
        f"attempt {attempt['id']}  {attempt['state']}  {attempt['message']}",
        f"  {attempt['program']}, from {attempt['started_at']} to {attempt['updated_at']}",
        f"  flow run {attempt['flow_run_id'] or '-'}",
        f"  {attempt['command_line']}",
    ]
    if attempt["space_group"]:
        lines += ["", f"  {attempt['space_group']}   {attempt['unit_cell']}", ""]
        header = ["", "overall", "low", "high"]
        rows = [header, *attempt["statistics"]]
        lines += [f"  {row[0]:28}" + "".join(f"{cell:>12}" for cell in row[1:]) for row in rows]
    lines += [f"  {m['severity']}: {m['message']}" for m in attempt["messages"]]
    lines += [f"  {a['type']:7} {a['rank']}  {a['path']}" for a in attempt["files"]]
    return lines


def store_of(name: str) -> IspybStore:
    """Return the store of a URL, or of a saved block."""
    if "://" in name:
        return open_store(name)
    if Path(name).suffix or "/" in name:
        msg = f"{name!r} is no block name; a SQLite file is given as sqlite:///{name}"
        raise InvalidRequest(msg)
    from deployments.blocks_by_name import saved_store  # noqa: PLC0415 - loads Prefect

    return saved_store(name)
