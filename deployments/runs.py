"""Moved: see `tasks.flow_runs`."""

from tasks.flow_runs import Run, Runs, answering, prefect_runs, run_page

__all__ = ["Run", "Runs", "answering", "prefect_runs", "run_page"]
