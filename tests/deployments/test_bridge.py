"""Messages on a real RabbitMQ become runs on a real Prefect: once, late, elsewhere, or buried."""

import asyncio
import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from blocks.broker import REASON, Delivery, Link
from blocks.errors import ServiceUnavailable
from blocks.mx.records import AttemptState
from tests.fakes.bridge_site import Site, a_site, bare, runs_of
from tests.fakes.messages import a_recipe, wrapped
from tests.rabbitmq.server import RabbitMq

pytestmark = pytest.mark.services


@pytest.fixture(params=["amqp", "stomp"])
def site(
    request: pytest.FixtureRequest, deployed: None, rabbitmq: RabbitMq, tmp_path: Path
) -> Site:
    return a_site(str(getattr(rabbitmq, request.param)), tmp_path)


@pytest.fixture
def amqp_site(deployed: None, rabbitmq: RabbitMq, tmp_path: Path) -> Site:
    return a_site(rabbitmq.amqp, tmp_path)


def test_synchweb_s_message_starts_one_run_and_is_gone(site: Site) -> None:
    job_id = site.a_job()
    site.send(bare(job_id))

    assert site.deal(1) == ["started"]
    (run,) = runs_of(job_id)
    assert run["labels"]["limsflow.message"] == bare(job_id).decode()
    assert site.waiting(site.queue) == []


def test_what_is_zocalo_s_goes_on_untouched(site: Site) -> None:
    other = site.a_job(recipe="autoPROC")
    bodies = [
        b'{"recipes":["trigger-dimple"],  "parameters":{"ispyb_dcid":7,"scaling_id":9}}',
        b'{"parameters": {"ispyb_dcid": 7}}',
        bare(other),
    ]
    site.send(*bodies, **{"zocalo.go.user": "me"})

    assert site.deal(3) == ["forwarded"] * 3
    passed = site.waiting(site.forward_to)[1:]
    assert sorted(one.body for one in passed) == sorted(bodies)
    assert {one.headers["zocalo.go.user"] for one in passed} == {"me"}
    assert runs_of(other) == []


def test_what_was_to_go_to_a_queue_that_is_gone_is_kept(amqp_site: Site) -> None:
    amqp_site.forward_to = "no-such-queue"
    amqp_site.send(b'{"recipes":["trigger-dimple"],"parameters":{}}')
    amqp_site.deal(1)

    (kept,) = amqp_site.waiting(amqp_site.dead)
    assert kept.headers[REASON] == "there is no queue 'no-such-queue' on this broker"
    assert amqp_site.waiting(amqp_site.queue) == []


def test_poison_is_buried_once_with_the_reason(site: Site) -> None:
    site.send(b"nonsense", bare(4_000_000_000))

    assert site.deal(2) == ["dead", "dead"]
    reasons = sorted(one.headers[REASON] for one in site.waiting(site.dead))
    assert reasons[0].startswith("the body is not JSON")
    assert reasons[1] == "there is no processing job 4000000000"
    assert site.waiting(site.queue) == []


def test_the_user_reads_why_a_message_about_a_job_was_buried(amqp_site: Site) -> None:
    amqp_site.forward_to = ""
    job_id = amqp_site.a_job(recipe="fast_dp")
    amqp_site.send(bare(job_id))

    assert amqp_site.deal(1) == ["dead"]
    (attempt,) = amqp_site.ispyb.store.attempts(job_id)
    assert attempt.state is AttemptState.FAILED
    assert attempt.message.startswith("it is not for limsflow")


def test_a_message_before_its_job_is_waited_for(amqp_site: Site) -> None:
    job_id = amqp_site.a_job()
    hidden = "UPDATE ProcessingJob SET processingJobId = :new WHERE processingJobId = :old"
    amqp_site.ispyb.change(hidden, new=job_id + 7_000_000, old=job_id)
    amqp_site.send(bare(job_id))
    amqp_site.wait_for_job_s = 20

    async def both() -> list[str]:
        dealing = asyncio.create_task(amqp_site._deal(1, lambda link: link))
        await asyncio.sleep(1.5)
        await asyncio.to_thread(amqp_site.ispyb.change, hidden, new=job_id, old=job_id + 7_000_000)
        return await dealing

    assert asyncio.run(both()) == ["started"]


def test_a_recipe_s_step_starts_a_run_that_knows_the_recipe(amqp_site: Site) -> None:
    job_id = amqp_site.a_job()
    message = a_recipe(ispyb_process=job_id, timeout=77)
    amqp_site.send(wrapped(message), **{"workflows-recipe": "True"})

    assert amqp_site.deal(1) == ["started"]
    (run,) = runs_of(job_id)
    step = run["parameters"]["step"]
    assert (step["timeout_s"], step["broker"], step["message"]) == (77, "b", message)


def test_a_site_that_would_forward_to_itself_is_refused() -> None:
    from pydantic import SecretStr, ValidationError  # noqa: PLC0415

    from blocks.connections import MessageBroker  # noqa: PLC0415 - loads Prefect

    with pytest.raises(ValidationError, match="go round"):
        MessageBroker(
            url=SecretStr("stomp://mq"), queues=["reprocess"], forward_to="/queue/reprocess"
        )


class Deaf:
    """A link whose broker goes away before it hears an answer."""

    def __init__(self, link: Link) -> None:
        self._link = link

    def __getattr__(self, name: str) -> Any:
        return getattr(self._link, name)

    async def accept(self, _delivery: Delivery) -> None:
        msg = "gone"
        raise ServiceUnavailable(msg)

    async def bury(self, delivery: Delivery, *_: str) -> None:
        await self.accept(delivery)


def test_a_bridge_that_dies_between_hand_off_and_answer_makes_no_second_run(site: Site) -> None:
    job_id = site.a_job()
    site.send(bare(job_id))
    with pytest.raises(ServiceUnavailable, match="gone"):
        site.deal(1, through=Deaf)

    assert site.deal(1) == ["repeated"]
    assert len(runs_of(job_id)) == 1
    assert site.waiting(site.queue) == []


def test_a_bridge_that_dies_before_a_burial_writes_one_failure(amqp_site: Site) -> None:
    amqp_site.forward_to = ""
    job_id = amqp_site.a_job(recipe="fast_dp")
    amqp_site.send(bare(job_id))
    with pytest.raises(ServiceUnavailable, match="gone"):
        amqp_site.deal(1, through=Deaf)

    assert amqp_site.deal(1) == ["dead"]
    assert len(amqp_site.ispyb.store.attempts(job_id)) == 1
    assert len(amqp_site.waiting(amqp_site.dead)) == 1


class Away:
    """Prefect, away at first; it may do what it is asked and lose the answer."""

    def __init__(self, times: int, *, does_it: bool) -> None:
        self.times, self.does_it = times, does_it

    async def start(self, *arguments: Any, **named: Any) -> Any:
        from tasks.flow_runs import prefect_runs  # noqa: PLC0415 - loads Prefect

        self.times -= 1
        async with prefect_runs() as runs:
            if self.times < 0 or self.does_it:
                run = await runs.start(*arguments, **named)
                if self.times < 0:
                    return run
        msg = "Prefect does not answer"
        raise ServiceUnavailable(msg)

    async def find(self, run_id: Any) -> Any:
        from tasks.flow_runs import prefect_runs  # noqa: PLC0415

        async with prefect_runs() as runs:
            return await runs.find(run_id)

    async def add_labels(self, *_: Any) -> None:
        """Nothing: the test is over by then."""


@contextmanager
def impatience() -> Iterator[pytest.MonkeyPatch]:
    """A bridge that puts back what it cannot hand on within a second, while the block runs."""
    from deployments import bridge  # noqa: PLC0415 - loads Prefect

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bridge, "PUT_BACK_S", 1.0)
        yield patch


def test_a_message_that_was_put_back_after_a_lost_answer_is_its_run(amqp_site: Site) -> None:
    job_id = amqp_site.a_job()
    amqp_site.send(bare(job_id))
    with impatience():
        assert amqp_site.deal(1, runs=Away(100, does_it=True)) == ["put_back"]

    assert amqp_site.deal(1) == ["started"]
    assert len(runs_of(job_id)) == 1


def test_a_deployment_that_is_missing_is_waited_for(amqp_site: Site) -> None:
    from tasks.mx import hand_off  # noqa: PLC0415 - loads Prefect

    job_id = amqp_site.a_job()
    amqp_site.send(bare(job_id))
    with impatience() as patch:
        patch.setattr(hand_off, "DEPLOYMENT", "reprocess-job/not-deployed-yet")
        assert amqp_site.deal(1) == ["put_back"]

    assert amqp_site.deal(1) == ["started"]
    assert amqp_site.ispyb.store.attempts(job_id) == []


@pytest.mark.parametrize("does_it", [False, True], ids=["refused", "answer lost"])
def test_an_outage_of_prefect_is_waited_through_and_makes_one_run(
    amqp_site: Site, does_it: bool
) -> None:
    job_id = amqp_site.a_job()
    amqp_site.send(bare(job_id))

    assert amqp_site.deal(1, runs=Away(2, does_it=does_it)) == ["started"]
    assert len(runs_of(job_id)) == 1
    assert amqp_site.waiting(amqp_site.dead) == []


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
RECIPE_PARTS = ("environment", "payload", "recipe", "recipe-path", "recipe-pointer")
BODIES = (
    st.binary(max_size=200)
    | st.builds(lambda value: json.dumps(value).encode(), JSON)
    | st.builds(
        lambda value, key: json.dumps({"parameters": {key: value}}).encode(),
        JSON,
        st.sampled_from(["ispyb_process", "ispyb_reprocessing_id", "ispyb_dcid"]),
    )
    | st.builds(
        lambda change: wrapped(a_recipe() | change),
        st.dictionaries(st.sampled_from(RECIPE_PARTS), JSON),
    )
)


def test_whatever_is_sent_nothing_is_lost_and_nothing_is_stuck(amqp_site: Site) -> None:
    sent = list[bytes]()
    jobs = [amqp_site.a_job() for _ in range(3)]

    @settings(
        max_examples=200,
        database=None,
        phases=[Phase.generate],
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(body=BODIES)
    def make(body: bytes) -> None:
        sent.append(body)

    make()
    sent.extend(bare(job_id) for job_id in jobs)
    headers = [{}, {"workflows-recipe": "True"}]

    async def send(link: Link) -> None:
        for number, body in enumerate(sent[:-3]):
            await link.publish(amqp_site.queue, body, headers[number % 2])
        for body in sent[-3:]:
            await link.publish(amqp_site.queue, body, {})

    amqp_site.linked(send, amqp_site.queue)
    while left := len(amqp_site.waiting(amqp_site.queue)):
        with suppress(TimeoutError):  # then it is dealt with in the next round
            amqp_site.deal(min(50, left))

    assert [len(runs_of(job_id)) for job_id in jobs] == [1, 1, 1]
    forwarded = amqp_site.waiting(amqp_site.forward_to)[1:]
    buried = amqp_site.waiting(amqp_site.dead)
    kept = sorted(one.body for one in (*forwarded, *buried)) + [bare(job) for job in jobs]
    assert sorted(kept) == sorted(sent)
    assert all(one.headers[REASON] for one in buried)
    assert amqp_site.waiting(amqp_site.queue) == []
