"""The report of a job as Markdown, for the Prefect page."""

from collections.abc import Sequence
from pathlib import Path

from blocks.mx.records import Attempt, Finished, Picture, ProcessingJob, Shell
from tasks.markdown import code, escape, fenced, picture, section, table

ROWS: tuple[tuple[str, str, str], ...] = (
    ("High resolution limit (Å)", "d_min", ".2f"),
    ("Low resolution limit (Å)", "d_max", ".2f"),
    ("Completeness (%)", "completeness", ".1f"),
    ("Multiplicity", "multiplicity", ".1f"),
    ("Mean I/σ(I)", "i_over_sigma", ".1f"),
    ("Rmerge (I+/-)", "r_merge", ".3f"),
    ("Rmeas", "r_meas_all", ".3f"),
    ("Rmeas (I+/-)", "r_meas_within", ".3f"),
    ("Rpim", "r_pim_all", ".3f"),
    ("Rpim (I+/-)", "r_pim_within", ".3f"),
    ("CC½", "cc_half", ".3f"),
    ("Anomalous completeness (%)", "anomalous_completeness", ".1f"),
    ("Anomalous multiplicity", "anomalous_multiplicity", ".1f"),
    ("Anomalous correlation", "cc_anomalous", ".3f"),
    ("Observations", "n_observations", ",d"),
    ("Unique reflections", "n_unique", ",d"),
)


def shells_table(shells: Sequence[Shell]) -> list[list[str]]:
    """Return the merging statistics as rows of text: name, overall, low, high resolution."""
    return [
        [title, *(_number(getattr(shell, field), form) for shell in shells)]
        for title, field, form in ROWS
    ]


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def report(
    job: ProcessingJob,
    attempt: Attempt,
    finished: Finished,
    *,
    argv: str,
    results: Path,
    note: str = "",
) -> str:
    """Return the report of a finished job; a note comes first."""
    solution = finished.solution
    limit = solution.overall.d_min_i_over_sigma_2
    facts = [
        ("Space group", solution.space_group),
        ("Unit cell (Å, °)", str(solution.cell)),
        ("Resolution (Å)", f"{_range(solution.overall)}, outer shell {_range(solution.shells[2])}"),
        ("Resolution at I/σ(I) = 2 (Å)", _number(limit, ".2f")),
        ("Sweeps", ", ".join(map(code, map(str, job.sweeps)))),
        ("Job, attempt", f"ProcessingJob {job.id}, AutoProcProgram {attempt.id}"),
    ]
    return "\n\n".join(
        [
            f"# {escape(job.display_name) or f'Processing job {job.id}'}",
            *([f"**{escape(note)}**"] if note else []),
            table(["", ""], [[name, value] for name, value in facts]),
            "## Merging statistics",
            table(["", "Overall", "Low", "High"], shells_table(solution.shells)),
            *map(_shown, finished.pictures),
            *section("Repairs", [f"* {escape(repair)}" for repair in finished.repairs]),
            *section(
                "What the program says of the data",
                [f"* {m.severity}: {escape(m.message)}" for m in solution.messages],
            ),
            "## Files",
            fenced(str(results)),
            "## Command",
            fenced(argv),
        ]
    )


def step_report(title: str, text: str, picture: Picture | None) -> str:
    """Return what a person looks at after one step."""
    return "\n\n".join([f"# {title}", text, *([_shown(picture)] if picture else [])])


def failure_report(job_id: int, attempt: Attempt, message: str, evidence: str) -> str:
    """Return the report of a failed attempt: the reason first, then the evidence."""
    return "\n\n".join(
        [
            f"# Processing job {job_id} failed",
            escape(message),
            f"AutoProcProgram {attempt.id}. What the program left is kept.",
            fenced(evidence),
        ]
    )


def _range(shell: Shell) -> str:
    return f"{_number(shell.d_max, '.2f')} - {_number(shell.d_min, '.2f')}"


def _shown(image: Picture) -> str:
    return picture(image.title, image.uri, image.caption)
