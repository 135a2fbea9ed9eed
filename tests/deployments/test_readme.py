"""What README.md and --help say is so: commands run, links lead somewhere, names exist."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from blocks.mx.recipe import recipe_names
from deployments.cli import main

REPOSITORY = Path(__file__).parents[2]
README = (REPOSITORY / "README.md").read_text()
DOCUMENTS = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")
LINK = re.compile(r"\]\((?!https?:|mailto:|#)([^)#\s]+)")
COMMAND = re.compile(r"(?:`|'|^\$ |^)limsflow ([a-z-]+)(?: ([a-z-]+))?", re.MULTILINE)


A_NIGHT = [
    *("--entero", "--toolchain", "--limit", "--since", "--force", "--dry-run"),
    *("--engine", "--concurrency", "--batch-size", "--dask-scheduler"),
]
METRICS = ("--metrics-port", "--metrics-host")
HELP = {
    "demo": ["--home"],
    "serve": ["--home", "--port"],
    "init": ["DB", "--for"],
    "deploy": [
        *("--ispyb", "--ispyb-processing", "--visit-depth"),
        *("--toolchain-directory", "--toolchain-note", "--limit", "--notify", "--night-hours"),
        *("--entero", "--entero-system", "--database", "--prefix", "--genus"),
        *("--limits-file", "--share", "--uploads"),
        *("--broker", "--queue", "--forward-to", "--recipe"),
    ],
    "listen": ["--broker", *METRICS],
    "worker": ["--pool", "--limit", "--queue", "--name", "--drain-s", *METRICS],
    "gateway": ["--host", "--port", "--url", "--clients", "--ispyb", "--entero", *METRICS],
    "client add": ["NAME", "--right", "--rate", "--burst", "--renew", "--clients"],
    "client list": ["--clients"],
    "client remove": ["NAME", "--clients"],
    "dead list": ["--broker", "--queue"],
    "dead show": ["ID", "--broker", "--queue"],
    "dead reinject": ["ID", "--all", "--broker", "--queue"],
    "dead drop": ["ID", "--broker", "--queue"],
    "job retry": ["ID", "--ispyb", "--toolchain"],
    "job cancel": ["ID", "--ispyb"],
    "doctor": [],
    "reconcile": [
        *("--ispyb", "--entero", "--broker", "--stale-after-s", "--stuck-after-s", "--dry-run"),
    ],
    "job create": ["FILE", "--ispyb", "--recipes"],
    "job argv": ["ID", "--ispyb", "--recipes", "--processes"],
    "job run": ["ID", "--ispyb", "--toolchain", "--no-resume", "--wait-s"],
    "job show": ["ID", "--ispyb", "--log"],
    "scheme load": [
        *("FOLDER", "--entero", "--name", "--label"),
        *("--not-automatic", "--max-missing", "--own-numbers-from", "--coding"),
    ],
    "scheme list": ["--entero"],
    "type": ["FASTA", "--scheme", "--entero"],
    "update-scheme": ["SCHEME", *A_NIGHT],
    "update-all-schemes": A_NIGHT,
    "update-assemblies": A_NIGHT,
    "night": ["NUMBER", "--entero"],
    "entero take-over": [
        *("--apply", "--undo", "--older-than-days", "--changes", "--database", "--entero"),
    ],
    "isolate example": ["FOLDER"],
    "isolate add": ["FILE", "--strain", "--entero"],
    "isolate show": ["BARCODE", "--entero"],
    "isolate type": ["BARCODE", "--scheme", "--force", "--toolchain", "--entero"],
    "isolate assemble": ["READS", "--strain", "--assembler", "--toolchain", "--entero"],
}
GROUPS = ("job", "scheme", "isolate", "entero", "client", "dead")


def blocks_of(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def transcript(block: str, directory: Path) -> str:
    """Return the block with the output that its commands have here."""
    scripts = str(Path(sys.executable).parent)
    variables = {"PATH": f"{scripts}:{os.defpath}", "PYTHONPATH": str(REPOSITORY)}
    lines = list[str]()
    for command in re.findall(r"^\$ (.*)$", block, re.MULTILINE):
        ran = subprocess.run(
            ["sh", "-c", command], cwd=directory, env=variables,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
        )  # fmt: skip
        lines += [f"$ {command}", *ran.stdout.splitlines()]
    return stripped("\n".join(lines))


def stripped(text: str) -> str:
    return "\n".join(line.rstrip() for line in text.strip().splitlines())


def commands_named() -> list[tuple[str, ...]]:
    found = {
        (first, second) if first in GROUPS else (first,)
        for first, second in COMMAND.findall(README)
    }
    return sorted(found)


def invocations() -> list[str]:
    """Return every line that starts a command of ours, with its continuation lines."""
    joined = re.sub(r"\\\n\s*", "", README)
    return re.findall(r"(?:`|^\$ |^)(limsflow [^`\n]+)", joined, re.MULTILINE)


def anchor(heading: str) -> str:
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def help_of(capsys: pytest.CaptureFixture[str], *command: str) -> str:
    with pytest.raises(SystemExit) as ended:
        main([*command, "--help"])
    assert ended.value.code == 0
    return capsys.readouterr().out


def test_every_command_of_the_readme_prints_what_the_readme_shows(tmp_path: Path) -> None:
    (job,) = blocks_of("json")
    (tmp_path / "job.json").write_text(job)
    shown = [stripped(block) for block in blocks_of("console")]

    printed = [transcript(block, tmp_path) for block in shown]

    assert shown
    assert printed == shown


def test_every_make_target_of_the_readme_is_in_the_makefile() -> None:
    makefile = (REPOSITORY / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z]+):", makefile, re.MULTILINE))
    named = set(re.findall(r"(?:`|^)make ([a-z-]+)", README, re.MULTILINE))

    assert {"demo", "test", "serve", "lint"} <= named
    assert named <= targets


def test_every_target_of_the_makefile_is_phony_and_every_phony_one_is_a_target() -> None:
    makefile = (REPOSITORY / "Makefile").read_text()
    phony = re.findall(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)

    assert sorted(" ".join(phony).split()) == sorted(re.findall(r"^([a-z]+):", makefile, re.M))


def test_the_readme_names_the_commands_that_a_newcomer_needs() -> None:
    assert {("init",), ("deploy",), ("doctor",), ("job", "create"), ("job", "run")} <= set(
        commands_named()
    )


@pytest.mark.parametrize("command", commands_named(), ids=" ".join)
def test_every_command_that_the_readme_names_exists(
    command: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert help_of(capsys, *command).startswith(f"usage: limsflow {' '.join(command)} ")


@pytest.mark.parametrize("invocation", sorted(set(invocations())))
def test_every_option_that_the_readme_gives_exists(
    invocation: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = invocation.split()
    said = help_of(capsys, *words[1 : 3 if words[1] in GROUPS else 2])

    options = [word for word in words if word.startswith("--")]
    assert [option for option in options if not re.search(rf"^  {option}\b", said, re.M)] == []


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_relative_link_leads_to_a_file(name: str) -> None:
    document = REPOSITORY / name

    links = LINK.findall(document.read_text())

    assert [link for link in links if not (document.parent / link).exists()] == []


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_link_within_a_document_leads_to_a_heading(name: str) -> None:
    text = (REPOSITORY / name).read_text()
    headings = {anchor(heading) for heading in re.findall(r"^#+ (.+)$", text, re.MULTILINE)}

    assert [link for link in re.findall(r"\]\(#([^)]+)\)", text) if link not in headings] == []


def test_the_readme_links_to_the_other_documents() -> None:
    assert {"CONTRIBUTING.md", "CHANGELOG.md"} <= set(LINK.findall(README))


def test_the_table_names_the_folders_of_the_house() -> None:
    rows = re.findall(r"^\| `([a-z]+)/` \|", README, re.MULTILINE)

    assert rows == ["blocks", "tasks", "flows", "deployments", "tests"]
    assert [row for row in rows if not (REPOSITORY / row).is_dir()] == []


def test_the_table_names_folders_of_tests_that_hold_something() -> None:
    row = next(line for line in README.splitlines() if line.startswith("| `tests/` |"))
    named = re.findall(r"`([a-z]+)/`", row)[1:]

    assert named == ["acceptance", "benchmarks"]
    assert [name for name in named if not any((REPOSITORY / "tests" / name).glob("*.py"))] == []


def test_every_path_that_the_readme_names_exists() -> None:
    paths = re.findall(r"`((?:blocks|tasks|flows|deployments|tests)/[\w./-]*)`", README)

    assert "flows/reprocess_job.py" in paths
    assert [path for path in paths if not (REPOSITORY / path).exists()] == []


def test_the_readme_names_every_recipe() -> None:
    (named,) = re.findall(r"`blocks/mx/recipes/` \(([^)]*)\)", README)

    assert sorted(re.findall(r"`([\w-]+)`", named)) == recipe_names()


def test_every_deployment_that_the_readme_names_is_registered() -> None:
    known = yaml.safe_load((REPOSITORY / "prefect.yaml").read_text())["deployments"]
    names = {
        f"{one['entrypoint'].rpartition('.')[2].replace('_', '-')}/{one['name']}" for one in known
    }
    named = set(re.findall(r"`([a-z]+-[a-z]+/[a-z0-9-]+)`", README))

    assert {"reprocess-job/default", "create-job/default"} <= named
    assert named <= names


def words_of_help(said: str) -> dict[str, str]:
    """Return each argument or option of a help text, with what is said of it."""
    entry = r"^  (-h, --help|--?[\w-]+|[A-Z]+)(?: [A-Z_]+)?\s+(?!-\S)(?=.*[a-z])(\S.*)$"
    return dict(re.findall(entry, said, re.MULTILINE))


@pytest.mark.parametrize("command", HELP)
def test_help_names_and_describes_every_option(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    said = help_of(capsys, *command.split())

    assert sorted(words_of_help(said)) == sorted(["-h, --help", "--json", *HELP[command]])


@pytest.mark.parametrize(
    ("group", "prefix"), [((), ""), *(((group,), f"{group} ") for group in GROUPS)]
)
def test_help_names_every_command(
    group: tuple[str, ...], prefix: str, capsys: pytest.CaptureFixture[str]
) -> None:
    listed = re.findall(r"^    ([a-z-]+)(?: |$)", help_of(capsys, *group), re.MULTILINE)

    ours = [name.removeprefix(prefix) for name in HELP if name.startswith(prefix)]
    assert set(listed) == {name.split()[0] for name in ours}


def test_the_readme_is_short_enough_to_be_read() -> None:
    assert len(README.splitlines()) <= 245
