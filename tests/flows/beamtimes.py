"""A Prefect server for all tests that want one; a beamtime with images, ISPyB and programs."""

import asyncio
import itertools
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from blocks.database import engine_for
from blocks.mx.records import Attempt, DataCollection
from blocks.mx.store import IspybStore, create_tables, open_store
from tests.fakes.builders import a_collection, a_request
from tests.fakes.prefect_server import prefect_server
from tests.fakes.programs import fake_xia2

numbers = itertools.count(1)


@pytest.fixture(scope="session")
def prefect(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A Prefect server of its own, once for the session."""
    with prefect_server(tmp_path_factory.mktemp("results")):
        yield


@pytest.fixture(scope="session")
def deployed(prefect: None) -> None:
    """The deployment of reprocess-job as prefect.yaml tags it, without a worker."""
    from flows.reprocess_job import reprocess_job  # noqa: PLC0415 - loads Prefect

    async def deploy() -> None:
        await (await reprocess_job.ato_deployment("default", tags=["mx"])).apply()

    asyncio.run(deploy())


@dataclass
class Beamtime:
    """A visit with images, an ISPyB, programs, and what Prefect calls them."""

    root: Path
    store: IspybStore
    programs: Path
    names: dict[str, str] = field(default_factory=dict[str, str])

    @property
    def url(self) -> str:
        """The ISPyB's URL."""
        return f"sqlite:///{self.root / 'ispyb.db'}"

    @property
    def visit(self) -> Path:
        """The visit's directory."""
        return self.root / "cm00001-1"

    def collection(self, n_images: int = 20, **given: Any) -> DataCollection:
        """Return a data collection with its image files on disk."""
        number = next(numbers)
        directory = self.visit / f"crystal_{number}"
        directory.mkdir(parents=True)
        for image in range(1, n_images + 1):
            (directory / f"thau_1_{image:04d}.cbf").touch()
        usual = {
            "id": number,
            "image_directory": f"{directory}/",
            "file_template": "thau_1_####.cbf",
            "n_images": n_images,
            "image_prefix": "thau",
            "number": 1,
        }
        return a_collection(**(usual | given))

    def job(self, *collections: DataCollection, **given: Any) -> int:
        """Return the id of a new job on the images 11-20 and 1-10 of each collection."""
        chosen = collections or (self.collection(),)
        request = a_request(*chosen, **({"ranges": ((11, 20), (1, 10))} | given))
        return self.store.create_job(request)

    def attempt(self, job_id: int) -> Attempt:
        """Return the newest attempt at a job."""
        return self.store.attempts(job_id)[-1]

    def run(self, job_id: int, **options: Any) -> Any:
        """Run a job in this process, as `limsflow job run` does."""
        from flows.reprocess_job import reprocess_job  # noqa: PLC0415 - loads Prefect

        return asyncio.run(
            reprocess_job(job_id, **({"wait_for_rows_s": 0.0} | self.names | options))
        )


@pytest.fixture
def a_beamtime(prefect: None, tmp_path: Path) -> Generator[Callable[..., Beamtime], None, None]:
    """Make a beamtime whose xia2 does these deeds, one at each start."""

    def make(*deeds: str, **toolchain: Any) -> Beamtime:
        from pydantic import SecretStr  # noqa: PLC0415

        from blocks.connections import IspybDatabase, Toolchain  # noqa: PLC0415 - loads Prefect

        programs = fake_xia2(tmp_path / "bin", *deeds)
        url = f"sqlite:///{tmp_path / 'ispyb.db'}"
        create_tables(url)
        beamtime = Beamtime(root=tmp_path, store=open_store(url), programs=programs)
        name = f"beamtime-{next(numbers)}"
        beamtime.names = {"ispyb": name, "toolchain": name}
        depth = len(beamtime.visit.parts)
        options = {"directory": str(programs), "n_processes": 4} | toolchain
        asyncio.run(IspybDatabase(url=SecretStr(url), visit_depth=depth).asave(name))
        asyncio.run(Toolchain(**options).asave(name))
        return beamtime

    yield make
    engine_for(f"sqlite:///{tmp_path / 'ispyb.db'}").dispose()
