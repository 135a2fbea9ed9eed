"""How steps behave in Prefect: what is retried, how often, and that nothing is cached."""

from functools import partial
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.tasks import exponential_backoff

from blocks.errors import TransientError


def is_transient(_task: Any, _task_run: Any, state: Any) -> bool:
    """Whether a failed step may succeed later; only then is it tried again."""
    return isinstance(state.data, TransientError)


# A step takes records and blocks, and looks before it writes, so it may run twice. With these
# nine waits (2 s to 8.5 min, and jitter) it survives a database that is away for ten minutes.
# `TASK_SOURCE` caching would see a step's own lines only, so nothing is cached by default.
step = partial(
    task,
    cache_policy=NO_CACHE,
    retries=9,
    retry_delay_seconds=exponential_backoff(2),
    retry_jitter_factor=0.5,
    retry_condition_fn=is_transient,
)

# A step that runs a program for minutes to hours: the program's faults have remedies of their
# own, and a transient failure inside it is not worth the whole run again.
program_step = partial(task, cache_policy=NO_CACHE, retries=0)
