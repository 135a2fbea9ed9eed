import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]
LAYERS = ("blocks", "tasks", "flows", "deployments")
MAX_LINES = 400
TEXTS = (".py", ".toml", ".yaml", ".yml", ".md", ".sql", ".sh")
PURE = ("blocks.mx.store", "tasks.mx.requests", "tasks.mx.sweeps", "blocks.program")
WITHOUT_PREFECT = (*PURE, "deployments.cli")

LINT = "from importlinter.cli import lint_imports_command; lint_imports_command()"


def files_of(*folders: str, suffixes: tuple[str, ...] = (".py",)) -> list[Path]:
    found = [path for folder in folders for path in (REPOSITORY / folder).rglob("*")]
    return sorted(path for path in found if path.suffix in suffixes and path.is_file())


def short(path: Path) -> str:
    return str(path.relative_to(REPOSITORY))


def python(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )


SOURCES = files_of(*LAYERS)
ALL_PYTHON = [*SOURCES, *files_of("tests")]
ALL_TEXTS = [
    *files_of(*LAYERS, "tests", ".ci", suffixes=TEXTS),
    *(path for path in sorted(REPOSITORY.glob("*")) if path.suffix in TEXTS),
]


def test_the_four_layers_are_looked_at() -> None:
    assert {path.relative_to(REPOSITORY).parts[0] for path in SOURCES} == set(LAYERS)


def test_no_module_shadows_the_standard_library() -> None:
    # A path entrypoint puts a flow's own folder first on sys.path: flows/queue.py is `queue` then.
    shadows = [short(path) for path in SOURCES if path.stem in sys.stdlib_module_names]

    assert shadows == []


@pytest.mark.parametrize("path", ALL_PYTHON, ids=short)
def test_a_file_fits_a_reader(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= MAX_LINES


@pytest.mark.parametrize(
    "path", [path for path in ALL_PYTHON if path.name == "__init__.py"], ids=short
)
def test_importing_a_package_does_nothing(path: Path) -> None:
    body = ast.parse(path.read_text()).body

    assert len(body) == 1
    assert ast.get_docstring(ast.parse(path.read_text()))


def test_what_is_left_to_do_has_an_issue() -> None:
    without_issue = re.compile(r"\b(?:TO" r"DO|FIX" r"ME)\b(?!.{0,3}#\d)")
    found = [
        f"{short(path)}:{number}"
        for path in ALL_TEXTS
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1)
        if without_issue.search(line)
    ]

    assert found == []


def test_every_arrow_between_modules_points_the_right_way() -> None:
    lint = python("-c", LINT, "--no-cache")

    assert lint.returncode == 0, lint.stdout


@pytest.mark.parametrize("module", WITHOUT_PREFECT)
def test_a_module_that_needs_no_prefect_does_not_load_it(module: str) -> None:
    # `import prefect` costs 2-6 s.
    loaded = python("-c", f"import sys, {module}; sys.exit('prefect' in sys.modules)")

    assert (loaded.returncode, loaded.stderr) == (0, "")
