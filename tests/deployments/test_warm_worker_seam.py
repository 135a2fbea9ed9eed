"""What `limsflow worker` takes from within Prefect is as it was when it was written.

A new Prefect makes this fail: read what is named, mend the worker, and write down what is new.
"""

import hashlib
import inspect
from importlib import import_module
from typing import Any

import prefect
import pytest

from blocks.errors import InvalidRequest
from deployments.work import PREFECT, require_known_prefect

# Prefect's private parts that the worker calls, with the names of their parameters.
USED = {
    "prefect.runner._flow_run_executor:FlowRunExecutorContext.create_executor": (
        "self flow_run starter resolve_flow propose_submitting hook_runner"
    ),
    "prefect.runner._flow_run_executor:FlowRunExecutor.submit": "self task_status",
    "prefect.runner._flow_run_executor:ProcessStarter.start": "self flow_run task_status",
    "prefect.runner._cancellation_manager:CancellationManager.cancel_by_id": "self flow_run_id",
    "prefect.runner._process_manager:ProcessHandle": "_process termination_scope",
    "prefect.runner._process_manager:ProcessManager.kill": "self flow_run_id grace_seconds force",
    "prefect.runner._process_manager:ProcessManager.flow_run_ids": "self",
    "prefect.runner._control_channel:ControlChannel.register": "self flow_run_id",
    "prefect.runner._control_channel:ControlChannel.get_conclusion": "self flow_run_id",
    "prefect.runner._starter_engine:EngineCommandStarter": (
        "tmp_dir storage entrypoint command cwd env deployment_name stream_output "
        "heartbeat_seconds control_channel isolate_process_group env_overrides_settings"
    ),
    "prefect.runner._hook_runner:HookRunner": "resolve_flow",
    "prefect.runner._hook_runner:HookRunner.run_cancellation_hooks": "self flow_run state",
    "prefect.runner._hook_runner:HookRunner.run_crashed_hooks": "self flow_run state",
    "prefect._internal.attempt_control:EngineOutcomeReceipt": (
        "disposition state_id state_type state_name"
    ),
    "prefect._internal.control_listener:configure_from_env": "",
    "prefect._internal.metrics:RunMetrics": "flow_run flow",
    "prefect._internal.observers:FlowRunCancellingObserver.__aexit__": "self exc_info",
    "prefect.engine:_drive_run_flow_result": "flow run_result",
    "prefect.engine:handle_engine_signals": "flow_run_id",
    "prefect.flow_engine:run_flow": (
        "flow flow_run parameters wait_for return_type error_logger context"
    ),
    "prefect.flow_engine:load_flow": "flow_run",
    "prefect.utilities.engine:propose_state": "client state flow_run_id force",
    "prefect.workers.base:BaseJobConfiguration.from_template_and_values": (
        "base_job_template values client"
    ),
    "prefect.workers.base:BaseJobConfiguration._base_environment": "",
    "prefect.workers.process:ProcessJobConfiguration.prepare_for_flow_run": (
        "self flow_run deployment flow work_pool worker_name worker_id"
    ),
    "prefect.workers.base:BaseWorker": (
        "work_pool_name work_queues name prefetch_seconds create_pool_if_not_found limit "
        "heartbeat_interval_seconds base_job_template"
    ),
    "prefect.workers.base:BaseWorker.get_and_submit_flow_runs": "self",
    "prefect.workers.base:BaseWorker.sync_with_backend": "self",
    "prefect.workers.base:BaseWorker._submit_run": "self flow_run",
    "prefect.workers.base:BaseWorker._release_limit_slot": "self flow_run_id",
    "prefect.workers.base:BaseWorker._mark_flow_run_as_cancelled": "self flow_run state_updates",
    "prefect.workers.base:BaseWorker._propose_crashed_state": "self flow_run message client",
    "prefect.workers.base:BaseWorker._emit_worker_started_event": "self",
    "prefect.workers.base:BaseWorker._emit_flow_run_submitted_event": "self configuration",
    "prefect.workers.base:BaseWorker._emit_flow_run_executed_event": (
        "self result configuration submitted_event"
    ),
}
# What it does in the place of, or as, Prefect does: digests of the source that was read.
READ = {
    "prefect.engine": "b8cdbed3c4c3",
    "prefect.runner._flow_run_executor": "57897da54cf4",
    "prefect.runner._starter_engine:EngineCommandStarter.start": "8600b366093d",
    "prefect.workers.base:BaseWorker._submit_scheduled_flow_runs": "29112894f6f9",
    "prefect.workers.base:BaseWorker._submit_run": "835f04932097",
    "prefect.workers.base:BaseWorker._submit_run_and_capture_errors": "3947a275944c",
    "prefect.workers.base:BaseWorker.setup": "3dae79de43ac",
    "prefect.workers.base:BaseWorker.teardown": "282f27b5627e",
    "prefect.workers.base:BaseWorker.start": "79b7cda67b75",
    "prefect.workers.base:BaseJobConfiguration.resolve_for_flow_run": "a322d7fd74d0",
    "prefect.workers.process:ProcessWorker.run": "05306468a6b3",
    "prefect._internal.observers:FlowRunCancellingObserver": "16fcb1a59b71",
}
# Attributes that no signature shows, and where they are set.
SET = {
    "prefect.runner._flow_run_executor:FlowRunExecutorContext.__aenter__": (
        "self._observer = ",
        "self._cancellation_manager = ",
        "self.control_channel = ",
        "self.process_manager = ",
    ),
    "prefect.workers.base:BaseWorker.__init__": (
        "self._started_event: ",
        "self._runs_task_group: ",
        "self._limiter: ",
        "self._submitting_flow_run_ids: ",
    ),
}


def found(name: str) -> Any:
    module, _, path = name.partition(":")
    thing = import_module(module)
    for part in filter(None, path.split(".")):
        thing = getattr(thing, part)
    return thing


@pytest.mark.parametrize("name", USED)
def test_a_private_part_of_prefect_is_called_as_when_it_was_read(name: str) -> None:
    assert " ".join(inspect.signature(found(name)).parameters) == USED[name]


@pytest.mark.parametrize("name", READ)
def test_what_the_worker_does_in_prefects_place_prefect_does_as_when_it_was_read(name: str) -> None:
    digest = hashlib.sha256(inspect.getsource(found(name)).encode()).hexdigest()

    assert digest[:12] == READ[name]


@pytest.mark.parametrize("name", SET)
def test_prefects_private_attributes_are_where_they_were(name: str) -> None:
    source = inspect.getsource(found(name))

    assert [one for one in SET[name] if one not in source] == []


def test_the_worker_starts_with_the_prefect_that_it_knows_and_with_no_other() -> None:
    require_known_prefect(prefect.__version__)
    with pytest.raises(InvalidRequest, match=r"knows Prefect 3\.8\.8 .* 3\.9\.1 is installed: use"):
        require_known_prefect("3.9.1")

    assert prefect.__version__ == PREFECT
