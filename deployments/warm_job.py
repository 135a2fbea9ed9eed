"""What a run's process is told: its environment, its directory, its flow."""

import shlex
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from uuid import UUID

from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.objects import Flow, FlowRun, WorkPool
from prefect.client.schemas.responses import DeploymentResponse
from prefect.settings import get_current_settings
from prefect.workers.process import ProcessJobConfiguration
from pydantic import PrivateAttr

from deployments.warm_child import Order

KNOWN_FOR_S = 2.0  # a deployment that somebody changes is as it was for so long
ENGINE = ["-m", "prefect.engine"]
INTERPRETERS = {"python", sys.executable}
SET_DIRECTORY = "prefect.deployments.steps.set_working_directory"
# Prefect tells its own children the same: who started them runs these hooks.
SUPERVISED = {"PREFECT__ENABLE_CANCELLATION_AND_CRASHED_HOOKS": "false"}


class WarmConfiguration(ProcessJobConfiguration):
    """What pool, deployment and run say of a process; the process pool's own fields."""

    _entrypoint: str = PrivateAttr(default="")
    _code: str = PrivateAttr(default="")
    _title: str = PrivateAttr(default="")

    @property
    def is_warm(self) -> bool:
        """Whether a fork does what its command would do."""
        interpreter, *arguments = shlex.split(self.command or "") or [""]
        return interpreter in INTERPRETERS and arguments == ENGINE

    @property
    def title(self) -> str:
        """What runs: flow/deployment."""
        return self._title

    def prepare_for_flow_run(
        self,
        flow_run: FlowRun,
        deployment: DeploymentResponse | None = None,
        flow: Flow | None = None,
        work_pool: WorkPool | None = None,
        worker_name: str | None = None,
        worker_id: UUID | None = None,
    ) -> None:
        """Add what is the run's own: Prefect calls it so."""
        super().prepare_for_flow_run(
            flow_run, deployment, flow, work_pool, worker_name, worker_id=worker_id
        )
        self._title = f"{flow.name if flow else ''}/{deployment.name if deployment else ''}"
        if deployment:
            self._code = _directory_of_code(deployment)
            self._entrypoint = (deployment.entrypoint or "") if self._code else ""

    def order_for(self, run: FlowRun, directory: Path) -> Order:
        """Return what the child of a run is told, which is in the state that Prefect accepted.

        Args:
            run: With that state.
            directory: Where its process begins.
        """
        return Order(
            flow_run=run.model_dump_json(),
            environment={n: v for n, v in self.env.items() if v is not None} | SUPERVISED,
            directory=directory,
            code=self._code,
            entrypoint=self._entrypoint,
        )

    @classmethod
    def _base_environment(cls) -> dict[str, str]:
        return settings_as_variables()


_settings = dict[int, dict[str, str]]()


def settings_as_variables() -> dict[str, str]:
    """Return Prefect's settings of this process; to write them down takes 30 ms, so only once."""
    now = get_current_settings()
    if id(now) not in _settings:
        _settings.clear()
        _settings[id(now)] = now.to_environment_variables(exclude_unset=True)
    return dict(_settings[id(now)])


def _directory_of_code(deployment: DeploymentResponse) -> str:
    """Return where a deployment's code lies, if its pull steps say that and nothing else.

    Any other step, and what Prefect has to be asked for, is left to Prefect's engine in the child.
    """
    steps = deployment.pull_steps or []
    found = [step.get(SET_DIRECTORY, {}) for step in steps if len(step) == 1]
    directories = [str(one["directory"]) for one in found if set(one) == {"directory"}]
    if len(directories) != len(steps) or any("{{ prefect." in one for one in directories):
        return ""
    return directories[-1] if directories else ""


class Known:
    """Flows and deployments, read once for all runs of a moment."""

    def __init__(self, client: PrefectClient) -> None:
        self._client = client
        self._flows = dict[UUID, Flow]()
        self._deployments = dict[UUID, tuple[float, DeploymentResponse]]()

    async def flow(self, flow_id: UUID) -> Flow:
        """Return a flow; its name never changes."""
        if flow_id not in self._flows:
            self._flows[flow_id] = await self._client.read_flow(flow_id)
        return self._flows[flow_id]

    async def deployment(self, deployment_id: UUID) -> DeploymentResponse:
        """Return a deployment as it is or was a moment ago.

        Raises:
            ObjectNotFound: it was deleted.
        """
        read_at, found = self._deployments.get(deployment_id, (0.0, None))
        if found is None or time.monotonic() - read_at > KNOWN_FOR_S:
            found = await self._client.read_deployment(deployment_id)
            self._deployments[deployment_id] = (time.monotonic(), found)
        return found


def job_variables(run: FlowRun, deployment: DeploymentResponse | None) -> dict[str, Any]:
    """Return a deployment's variables as its run changes them; of `env`, each for itself."""
    ours = dict((deployment and deployment.job_variables) or {})
    theirs = dict(run.job_variables or {})
    if isinstance(ours.get("env"), Mapping) and isinstance(theirs.get("env"), Mapping):
        theirs["env"] = {**ours["env"], **theirs["env"]}
    return {**ours, **theirs}
