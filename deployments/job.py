"""`limsflow job create/argv/show`: jobs in a shell, without Prefect unless a block is named."""

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from blocks.errors import InvalidRequest
from blocks.mx.recipe import load_recipe
from blocks.mx.records import JobRequest
from blocks.mx.store import IspybStore, open_store
from deployments.job_facts import commands_of, rows_of_job
from deployments.job_text import as_text
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
    lines = commands_of(job, recipe, n_processes=options.processes)
    if options.json:
        print(json.dumps(lines[0] if recipe.engine == "xia2" else lines))
    else:
        print("\n\n".join("\n".join(tokens) for tokens in lines))
    return 0


def show(options: argparse.Namespace) -> int:
    """Print a job's rows, attempts, results and files; and its runs, where Prefect is named."""
    facts = _all_facts(options)
    print(json.dumps(facts, indent=2) if options.json else "\n".join(as_text(facts)))
    return 0


def job_facts(store: IspybStore, job_id: int) -> dict[str, Any]:
    """Return everything that ISPyB and the disk have of a job, as plain values.

    Raises:
        NoSuchRecord: there is no such job.
    """
    return rows_of_job(store, job_id).model_dump(mode="json")


def _all_facts(options: argparse.Namespace) -> dict[str, Any]:
    store = store_of(options.ispyb)
    if "://" in options.ispyb and not os.environ.get("PREFECT_API_URL"):
        return job_facts(store, options.id)
    from deployments.job_control import known  # noqa: PLC0415 - loads Prefect

    found = known(store, options.id, options.ispyb, with_logs=options.log)
    return found.model_dump(mode="json")


def store_of(name: str) -> IspybStore:
    """Return the store of a URL, or of a saved block."""
    if "://" in name:
        return open_store(name)
    if Path(name).suffix or "/" in name:
        msg = f"{name!r} is no block name; a SQLite file is given as sqlite:///{name}"
        raise InvalidRequest(msg)
    from deployments.blocks_by_name import saved_store  # noqa: PLC0415 - loads Prefect

    return saved_store(name)
