"""Celery and zocalo's `workflows`, in an environment of their own, as peers of `asked`.

They are installed into one, unless `LIMSFLOW_PEERS` names one that has them. Celery's broker is
Debian's redis-server, on a port of its own, and keeps nothing on a disk.
"""

import json
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from deployments.embedded import free_port
from tests.benchmarks.asked_found import Found, Size
from tests.benchmarks.night_celery import BROKER, NotHere, python_with
from tests.benchmarks.night_servers import answer_of, running
from tests.fakes.served import REPOSITORY, environment
from tests.rabbitmq.server import HOST, USER, RabbitMq

FOLDER = "LIMSFLOW_PEERS"
NEEDED = ("celery[redis]==5.7.0", "zocalo==1.5.0", "workflows==3.3")
HERE = Path(__file__).parent
CELERY, WORKFLOWS = HERE / "asked_celery_app.py", HERE / "asked_workflows_app.py"
PROCESSES = 2
CONFIGURATION = """version: 1
storage:
  plugin: storage
  zocalo.default_transport: PikaTransport
  zocalo.recipe_directory: {recipes}
environments:
  live: {{plugins: [storage]}}
  default: live
"""
RABBIT = "[rabbit]\nhost={}\nport={}\nusername={}\npassword={}\nvhost=/\n"


@dataclass(frozen=True)
class Peers:
    """The peers' Python, and a folder for what they say."""

    python: Path
    folder: Path

    def celery(self, size: Size) -> Found:
        """Return what chains of three no-ops take on Celery and Redis."""
        port = free_port()
        redis = [_redis(), "--bind", HOST, "--port", port, "--save", "", "--appendonly", "no"]
        told = environment() | {BROKER: f"redis://{HOST}:{port}/0"}
        argv = [*self._script(CELERY), "work", "--processes", PROCESSES]
        with (
            running([*redis, "--dir", self.folder], self.folder / "redis.log"),
            running(argv, self.folder / "celery.log", told),
        ):
            asked = ["measure", size.waits, size.short_burst]
            return self._measured(CELERY, asked, told, "celery-sender")

    def workflows(self, rabbitmq: RabbitMq, size: Size, *, dispatcher: bool) -> Found:
        """Return what a recipe of three no-op steps takes, with or without zocalo's dispatcher."""
        asked = ["measure", size.waits, size.short_burst, *["--dispatcher"] * dispatcher]
        with self._zocalo(rabbitmq, dispatcher=dispatcher) as told:
            return self._measured(WORKFLOWS, asked, told, f"workflows-{dispatcher}")

    @contextmanager
    def _zocalo(self, rabbitmq: RabbitMq, *, dispatcher: bool) -> Iterator[dict[str, str]]:
        """Run two services, and the dispatcher if it is wanted."""
        at = (HOST, rabbitmq.amqp_port, USER, rabbitmq.password)
        told = environment() | {BROKER: json.dumps(at), "OTEL_SDK_DISABLED": "true"}
        recipes = self.folder / "recipes"
        recipes.mkdir(exist_ok=True)
        argv = self._script(WORKFLOWS)
        self._run([*argv, "prepare", "--recipes", recipes], told)
        with ExitStack() as stack:
            for number in range(PROCESSES):
                log = self.folder / f"service-{number}.log"
                stack.enter_context(running([*argv, "serve"], log, told))
            if dispatcher:
                stack.enter_context(self._dispatcher(at, recipes, told))
            yield told

    @contextmanager
    def _dispatcher(
        self, at: tuple[object, ...], recipes: Path, told: Mapping[str, str]
    ) -> Iterator[None]:
        """Run zocalo's dispatcher as a facility does."""
        configuration, rabbit = self.folder / "zocalo.yml", self.folder / "rabbit.cfg"
        configuration.write_text(CONFIGURATION.format(recipes=recipes))
        rabbit.write_text(RABBIT.format(*at))
        argv = [self.python.with_name("zocalo.service"), "--service", "Dispatcher"]
        argv += ["--transport", "PikaTransport", "--rabbit-conf", rabbit]
        log = self.folder / "dispatcher.log"
        with running(argv, log, {**told, "ZOCALO_CONFIG": str(configuration)}):
            yield

    def _script(self, path: Path) -> list[object]:
        # A package of theirs is called `tests`, and a file beside theirs `typing`: so no module,
        # and `-P`, which keeps the file's folder off the path.
        return [self.python, "-P", path]

    def _measured(
        self, script: Path, arguments: list[object], told: Mapping[str, str], name: str
    ) -> Found:
        log = self.folder / f"{name}.log"
        found = answer_of(self._script(script), arguments, told, log)
        return Found(found["waits"], found["jobs"], found["wall_s"])

    def _run(self, argv: list[object], told: Mapping[str, str]) -> None:
        done = subprocess.run(
            [*map(str, argv)],
            env=told,
            cwd=REPOSITORY,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"{argv[-1]} failed:\n{done.stderr[-3000:]}")


def peers(folder: Path) -> Peers:
    """Return the peers; installed if no environment is named.

    Raises:
        NotHere: they cannot be installed.
    """
    own = folder / "peers"
    own.mkdir()
    return Peers(python_with(NEEDED, FOLDER, folder / "venv"), own)


def _redis() -> str:
    found = shutil.which("redis-server")
    if found is None:
        raise NotHere("redis-server is not installed: apt-get install redis-server")
    return found
