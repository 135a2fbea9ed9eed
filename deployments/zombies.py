"""What becomes of runs whose machine is gone: Prefect hears no heart-beat and calls them crashed.

A run tells that it lives every few minutes (`PREFECT_FLOWS_HEARTBEAT_FREQUENCY`, 180 s unless set,
30 s at least). Where its worker lives too, the worker sees a crash at once; this is for the rest.
Hooks do not run for such a run: `limsflow reconcile` closes what it has left open in a LIMS.
"""

from datetime import timedelta

from prefect.automations import Automation
from prefect.client.schemas.objects import StateType
from prefect.events.actions import ChangeFlowRunState
from prefect.events.schemas.automations import EventTrigger, Posture
from prefect.events.schemas.events import ResourceSpecification
from prefect.settings import get_current_settings

from blocks.errors import InvalidRequest
from deployments.automations import OVER, keep

NAME = "limsflow: a run is lost"
ALIVE = "prefect.flow-run.heartbeat"
MISSED = 3  # heart-beats; one may be late, and a server takes a minute to restart
LEAST_S = 30.0


async def register_zombies(silent_after_s: float | None = None) -> None:
    """Make the automation, or change it to what is asked now; it stays off if it was turned off.

    Args:
        silent_after_s: A run that has been silent for so long is lost; three heart-beats of this
            process's settings unless given.

    Raises:
        InvalidRequest: it is shorter than a heart-beat can be.
    """
    every_s = get_current_settings().flows.heartbeat_frequency
    within_s = MISSED * float(every_s or 180) if silent_after_s is None else silent_after_s
    if within_s <= LEAST_S:
        msg = f"a run's heart beats every {LEAST_S:g} s at most, so it is not lost in {within_s:g}"
        raise InvalidRequest(msg)
    await keep(Automation(name=NAME, trigger=_silence(within_s), actions=[_crashed(within_s)]))


def _silence(within_s: float) -> EventTrigger:
    return EventTrigger(
        after={ALIVE},
        # Of a run whose last state has a name of its own, Prefect refuses the change.
        expect={ALIVE, *OVER},
        match=ResourceSpecification(root={"prefect.resource.id": "prefect.flow-run.*"}),
        for_each={"prefect.resource.id"},
        posture=Posture.Proactive,
        threshold=1,
        within=timedelta(seconds=within_s),
    )


def _crashed(within_s: float) -> ChangeFlowRunState:
    said = f"Its heart has not beaten for {within_s:g} s: machine or process are gone."
    return ChangeFlowRunState(name=None, state=StateType.CRASHED, message=said, force=False)
