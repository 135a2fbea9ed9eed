"""The repository as it is cloned: its lock, licence and runner, and what it must not hold."""

import os
import re
import shutil
import subprocess
import tarfile
import tomllib
from importlib.metadata import requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

REPOSITORY = Path(__file__).parents[1]
LOCK = (REPOSITORY / "requirements.lock").read_text()
PYPROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
PINS = {
    canonicalize_name(name): version
    for name, _, version in (line.partition("==") for line in LOCK.splitlines())
}
WANTED = {
    "the project": PYPROJECT["project"]["dependencies"],
    "the tools": PYPROJECT["dependency-groups"]["dev"],
    "the build": PYPROJECT["build-system"]["requires"],
}
# Put together here, so that this file is not found itself.
REGISTRIES = [f"{name}.org" for name in ("pypi", "npmjs", "deb.debian", "files.pythonhosted")]
PLACES = [f"/{name}" for name in ("work/", "tmp/w", "root/")]
CONFLICT = re.compile(rb"^(?:<{7} |>{7} |\|{7} )", re.MULTILINE)


def git(*arguments: str) -> str:
    return subprocess.run(
        ["git", *arguments], cwd=REPOSITORY, capture_output=True, text=True, check=True
    ).stdout


def tracked() -> list[Path]:
    paths = [REPOSITORY / name for name in git("ls-files", "-z").split("\0") if name]
    return [path for path in paths if path.is_file()]


def files_with(pattern: re.Pattern[bytes]) -> list[str]:
    return [
        str(path.relative_to(REPOSITORY)) for path in tracked() if pattern.search(path.read_bytes())
    ]


def problem_of(requirement: str) -> str:
    """Return why the lock does not meet a requirement, or an empty text."""
    wanted = Requirement(requirement)
    pinned = PINS.get(canonicalize_name(wanted.name))
    if wanted.marker is not None and not wanted.marker.evaluate({"extra": ""}):
        return ""
    if pinned is None:
        return f"{wanted.name} is not locked"
    return "" if wanted.specifier.contains(pinned) else f"{wanted} is not met by {pinned}"


def test_git_knows_the_files_that_are_looked_at() -> None:
    assert {REPOSITORY / name for name in ("README.md", "prefect.yaml")} < set(tracked())


def test_the_lock_holds_names_and_versions_only() -> None:
    line = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*==[0-9][A-Za-z0-9.!+]*")

    assert LOCK.endswith("\n")
    assert [text for text in LOCK.splitlines() if not line.fullmatch(text)] == []


def test_the_lock_names_each_package_once() -> None:
    assert len(PINS) == len(LOCK.splitlines()) > len(PYPROJECT["project"]["dependencies"])


@pytest.mark.parametrize("who", WANTED)
def test_the_lock_holds_what_is_wanted_in_its_range(who: str) -> None:
    assert WANTED[who]
    assert [problem_of(wanted) for wanted in WANTED[who] if problem_of(wanted)] == []


def test_the_lock_holds_what_its_packages_need() -> None:
    # It is installed with --no-deps, so a package that it forgets is not there.
    needs = [(name, needed) for name in PINS for needed in requires(name) or ()]

    problems = [f"{name}: {problem_of(needed)}" for name, needed in needs if problem_of(needed)]

    assert problems == []


def test_a_line_that_says_why_stands_beside_each_dependency() -> None:
    text = (REPOSITORY / "pyproject.toml").read_text()
    (listed,) = re.findall(r"^dependencies = \[\n(.*?)^\]", text, re.MULTILINE | re.DOTALL)

    assert [line for line in listed.splitlines() if not re.search(r'",\s+# \w', line)] == []


@pytest.mark.parametrize("text", [*REGISTRIES, *PLACES])
def test_no_file_names_a_registry_or_a_place_of_one_machine(text: str) -> None:
    assert files_with(re.compile(re.escape(text.encode()))) == []


@pytest.mark.parametrize("text", [*REGISTRIES, *PLACES])
def test_the_recording_names_no_registry_and_no_place_of_one_machine(text: str) -> None:
    with tarfile.open(REPOSITORY / "deployments" / "recording.tar.xz") as archive:
        members = [archive.extractfile(member) for member in archive if member.isfile()]
        found = [member for member in members if member and text.encode() in member.read()]

    assert members
    assert found == []


def test_no_file_has_a_conflict_marker() -> None:
    assert files_with(CONFLICT) == []


def test_the_runner_can_be_run() -> None:
    assert os.access(REPOSITORY / ".ci" / "run", os.X_OK)
    assert git("ls-files", "--stage", ".ci/run").startswith("100755 ")


@pytest.mark.parametrize("fails", ["", "services", "lint", "test", "pytest"])
def test_the_runner_fails_if_anything_does(fails: str, tmp_path: Path) -> None:
    program = (
        f'#!/bin/sh\necho "$0 $*" >> {tmp_path}/log\n'
        f'[ "${{0##*/}}" != "{fails}" ] && [ "$1" != "{fails}" ]\n'
    )
    for path in (tmp_path / "make", tmp_path / ".venv" / "bin" / "pytest"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(program)
        path.chmod(0o755)
    (tmp_path / ".ci").mkdir()
    shutil.copy(REPOSITORY / ".ci" / "run", tmp_path / ".ci" / "run")
    variables = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}

    run = subprocess.run([tmp_path / ".ci" / "run"], env=variables, check=False)

    assert bool(run.returncode) is bool(fails)
    done = [line.partition(" ")[2] for line in (tmp_path / "log").read_text().splitlines()]
    everything = ["services", "lint", "-m services", "test"]
    assert sorted(done) == sorted(everything[: {"services": 1, "lint": 2}.get(fails, 4)])


def test_the_licence_is_bsd_3_clause_everywhere() -> None:
    licence = (REPOSITORY / "LICENSE").read_text()

    assert licence.startswith("BSD 3-Clause License\n\nCopyright (c) ")
    assert re.findall(r"^(\d)\. (?:Redistributions|Neither)", licence, re.MULTILINE) == list("123")
    assert PYPROJECT["project"]["license"] == "BSD-3-Clause"
    assert (REPOSITORY / "README.md").read_text().endswith("BSD-3-Clause.\n")
