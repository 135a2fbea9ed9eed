"""The facts of a processing job as lines for a terminal."""

from typing import Any

from deployments.job_log import plain

NOT_ASKED = "not asked"
LONGEST = 400  # letters of a message of the broker, or of a state's


def as_text(facts: dict[str, Any]) -> list[str]:
    """Return the facts of a job, as in their JSON, as lines for a terminal."""
    lines = [f"processing job {facts['job']}  recipe {facts['recipe']}  {facts['display_name']}"]
    if facts["problem"]:
        lines.append(f"  cannot be processed: {facts['problem']}")
    lines += [f"  {sweep}" for sweep in facts["sweeps"]]
    lines += [f"  {p['key']} = {p['value']}" for p in facts["parameters"]]
    if not facts["attempts"]:
        lines.append("  no attempt yet: waiting")
    for attempt in facts["attempts"]:
        lines += _attempt(attempt, with_log=attempt is facts["attempts"][-1])
    for run in facts["runs"]:
        lines += ["", f"flow run {run['id']}, without an attempt", *_run(run)]
    if facts["prefect"] not in ("", NOT_ASKED):
        lines += ["", f"nothing is known of flow runs: {facts['prefect']}"]
    return [plain(" ".join(line.splitlines())) for line in lines]


def _attempt(attempt: dict[str, Any], *, with_log: bool) -> list[str]:
    lines = [
        "",
        f"attempt {attempt['id']}  {attempt['state']}  {attempt['message']}",
        f"  {attempt['program']}, from {attempt['started_at']} to {attempt['updated_at']}",
        f"  flow run {attempt['flow_run_id'] or '-'}",
    ]
    if attempt["run"]:
        lines += _run(attempt["run"])
    lines.append(f"  {attempt['command_line']}")
    lines += _found(attempt)
    lines += [f"  {m['severity']}: {m['message']}" for m in attempt["messages"]]
    lines += [f"  {a['type']:7} {a['rank']}  {a['path']}" for a in attempt["files"]]
    if attempt["log"]:
        lines.append(f"  log {attempt['log']['path']}")
        if with_log:
            lines += ["", *(f"    {line}" for line in attempt["log"]["lines"])]
    return lines


def _found(attempt: dict[str, Any]) -> list[str]:
    if not attempt["space_group"]:
        return []
    rows = [["", "overall", "low", "high"], *attempt["statistics"]]
    table = [f"  {row[0]:28}" + "".join(f"{cell:>12}" for cell in row[1:]) for row in rows]
    return ["", f"  {attempt['space_group']}   {attempt['unit_cell']}", "", *table]


def _run(run: dict[str, Any]) -> list[str]:
    state = f"{run['state_name'] or run['state']}  {run['state_message']}".rstrip()
    said = {
        "state": state,
        "page": run["page"],
        "asked by": run["asked_by"],
        "message": run["message"],
        "cancelled by": run["cancelled_by"],
    }
    lines = [f"    {name:12} {text[:LONGEST]}" for name, text in said.items() if text]
    return lines + [f"      {line}" for line in run["log"]]
