"""Who is told when a night fails or is late, or a run crashes: automations that call a web hook."""

from datetime import timedelta

from prefect.automations import Automation
from prefect.blocks.webhook import Webhook
from prefect.events.actions import CallWebhook
from prefect.events.schemas.automations import EventTrigger, Posture
from prefect.events.schemas.events import ResourceSpecification
from pydantic import SecretStr

HOOK = "limsflow-operators"
NIGHTS = ("nightly-update", "update-all-schemes", "update-scheme", "update-assemblies")
OVER = {f"prefect.flow-run.{state}" for state in ("Completed", "Failed", "Crashed", "Cancelled")}
FAILED, LATE, LONG = (f"limsflow: a night {what}" for what in ("failed", "is late", "is too long"))
CRASHED = "limsflow: a run crashed"  # the machine's fault; what a job's data are at is in the LIMS
TAGS = [f"prefect.tag.{tag}" for tag in ("mx", "genomics", "beamline", "house")]
# In Slack's form, which Mattermost and others take too.
TEXT = (
    '{{"text": {{{{ ("{subject}: " ~ flow_run.name ~ " " ~ flow_run.state.name ~ ". "'
    ' ~ flow_run.state.message ~ " " ~ (flow_run|ui_url)) | tojson }}}} }}'
)


async def register_automations(hook: SecretStr, *, night_hours: float) -> None:
    """Make the automations, or change them to what is asked now.

    Args:
        hook: URL that gets `{"text": "..."}` by POST; kept as a secret.
        night_hours: A night that runs longer is told of.
    """
    block = Webhook(method="POST", url=hook)
    document = await block.asave(HOOK, overwrite=True)
    of_a_night = ResourceSpecification(
        root={"prefect.resource.role": "flow", "prefect.resource.name": list(NIGHTS)}
    )
    of_ours = ResourceSpecification(
        root={"prefect.resource.role": "tag", "prefect.resource.id": TAGS}
    )
    triggers = {
        CRASHED: _at_once({"Crashed"}, of_ours),
        FAILED: _at_once({"Failed", "Crashed"}, of_a_night),
        LATE: _at_once({"Late"}, of_a_night),
        LONG: EventTrigger(
            after={"prefect.flow-run.Running"},
            expect=OVER,
            match=_RUNS,
            match_related=of_a_night,
            for_each={"prefect.resource.id"},
            posture=Posture.Proactive,
            threshold=1,
            within=timedelta(hours=night_hours),
        ),
    }
    for name, trigger in triggers.items():
        action = CallWebhook(block_document_id=document, payload=TEXT.format(subject=name))
        await keep(Automation(name=name, trigger=trigger, actions=[action]))


_RUNS = ResourceSpecification(root={"prefect.resource.id": "prefect.flow-run.*"})


def _at_once(states: set[str], related: ResourceSpecification) -> EventTrigger:
    """Return what sees a run come into one of these states."""
    return EventTrigger(
        expect={f"prefect.flow-run.{state}" for state in states},
        match=_RUNS,
        match_related=related,
        posture=Posture.Reactive,
        threshold=1,
        within=timedelta(0),
    )


async def keep(wanted: Automation) -> None:
    """Make an automation; one of that name is replaced, but stays off if somebody turned it off."""
    try:
        known = await Automation.aread(name=wanted.name)
    except ValueError:
        await wanted.acreate()
        return
    known.trigger, known.actions = wanted.trigger, wanted.actions
    await known.aupdate()
