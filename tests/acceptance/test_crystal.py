"""The main job on real DIALS: what was simulated is found, stored, and shown on the page.

What goes in is `SyntheticCrystal()`; DIALS sees only its images.
"""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gemmi
import httpx
import numpy as np
import pytest

from blocks.mx.store import open_store
from blocks.mx.synthetic_sweep import SyntheticCrystal, true_intensities
from tests.fakes.served import environment, served

pytestmark = [pytest.mark.services, pytest.mark.timeout(900)]
TRUTH = SyntheticCrystal()


@dataclass(frozen=True)
class Demo:
    """A finished `limsflow demo`: what it printed, and its folder."""

    facts: dict[str, Any]
    folder: Path

    @property
    def attempt(self) -> dict[str, Any]:
        """The one attempt."""
        (attempt,) = self.facts["attempts"]
        return attempt

    def file(self, name: str) -> Path:
        """The attached file of this name."""
        return next(Path(f["path"]) for f in self.attempt["files"] if f["path"].endswith(name))


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Demo:
    """The demo, run once as a person runs it, with real programs."""
    assert shutil.which("dials.index"), "DIALS is missing: run 'make services'"
    folder = tmp_path_factory.mktemp("demo")
    run = subprocess.run(
        [sys.executable, "-m", "deployments.cli", "demo", "--json", "--home", str(folder / "home")],
        env=environment(),
        check=False,
        capture_output=True,
        text=True,
        timeout=800,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    return Demo(facts=json.loads(run.stdout), folder=folder)


def test_the_programs_were_real(demo: Demo) -> None:
    assert demo.facts["replayed"] == ""
    assert demo.file("dials.index.log").read_text().startswith("DIALS (2018)")
    assert demo.file("merged.mtz").read_bytes()[:4] == b"MTZ "


def test_the_cell_is_the_simulated_one_within_half_a_per_cent(demo: Demo) -> None:
    found = [float(number) for number in demo.attempt["unit_cell"].split()]

    assert found == pytest.approx(list(TRUTH.unit_cell), rel=0.005)


def test_the_laue_group_is_the_simulated_one(demo: Demo) -> None:
    found = gemmi.SpaceGroup(demo.attempt["space_group"])

    assert found.laue_str() == gemmi.SpaceGroup(TRUTH.space_group).laue_str() == "4/mmm"


def test_the_merged_intensities_are_the_simulated_ones(demo: Demo) -> None:
    mtz = gemmi.read_mtz_file(str(demo.file("merged.mtz")))
    mtz.ensure_asu()
    measured = zip(mtz.make_miller_array().tolist(), mtz.column_with_label("IMEAN"), strict=True)
    hkl, intensity = true_intensities(TRUTH)
    truth = dict(zip(map(tuple, hkl.tolist()), intensity, strict=True))
    pairs = np.array([(truth[tuple(h)], i) for h, i in measured if tuple(h) in truth])

    assert len(pairs) > 4000
    assert np.corrcoef(pairs.T)[0, 1] > 0.99


def test_the_stored_shells_are_those_of_dials_merge(demo: Demo) -> None:
    store = open_store(f"sqlite:///{demo.folder / 'home' / 'ispyb.db'}")
    table = json.loads(demo.file("merging-statistics.json").read_text())
    found = store.solution(demo.attempt["id"])
    assert found is not None

    counts = [shell.n_observations for shell in found.shells]
    assert counts == [table["overall"]["n_obs"], table["n_obs"][0], table["n_obs"][-1]]
    assert (found.overall.cc_half or 0) > 0.99


def test_each_sweep_has_its_integration_and_the_attempt_its_status(demo: Demo) -> None:
    ranges = [(i["start_image"], i["end_image"]) for i in demo.attempt["integrations"]]

    assert ranges == [(1, 40), (81, 120)]
    assert (demo.attempt["state"], demo.attempt["message"]) == ("success", "processing successful")


@pytest.fixture(scope="module")
def page(demo: Demo) -> Iterator[str]:
    """The page of the demo's stack, served again."""
    with served(demo.folder) as stack:
        yield stack.page


def seen(url: str, profile: Path) -> str:
    """Return what a browser shows at an address, as HTML."""
    chromium = shutil.which("chromium")
    assert chromium, "Chromium is missing: run 'make services'"
    quiet = ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
    how = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", *quiet]
    when = ["--virtual-time-budget=15000"]
    run = subprocess.run(
        [chromium, *how, f"--user-data-dir={profile}", *when, "--dump-dom", url],
        check=False,
        capture_output=True,
        text=True,
        timeout=180,
    )
    return run.stdout


def artifacts(page: str) -> dict[str, str]:
    found = httpx.post(f"{page}/api/artifacts/filter", json={}, timeout=30).json()
    return {one["key"]: one["id"] for one in found}


def test_the_report_shows_the_shells_and_the_pictures(page: str, tmp_path: Path) -> None:
    html = seen(f"{page}/artifacts/artifact/{artifacts(page)['job-1-report']}", tmp_path)

    assert "Merging statistics" in html
    assert "CC½" in html
    assert html.count('src="data:image/png;base64,') >= 5


def test_each_step_shows_what_a_scientist_looks_at(page: str) -> None:
    steps = ("find-spots", "index", "refine", "integrate", "symmetry", "merge", "progress")

    assert {f"job-1-{step}" for step in steps} <= set(artifacts(page))


@pytest.mark.parametrize(
    ("deployment", "words"),
    [
        ("reprocess-job/default", "Take over the finished DIALS steps"),
        ("create-job/default", "in the order of the command line"),
    ],
)
def test_a_form_explains_its_fields(page: str, tmp_path: Path, deployment: str, words: str) -> None:
    found = httpx.get(f"{page}/api/deployments/name/{deployment}", timeout=30).json()
    html = seen(f"{page}/deployments/deployment/{found['id']}/run", tmp_path)

    assert words in html


def test_the_run_is_named_by_the_job_and_shows_its_steps(page: str, tmp_path: Path) -> None:
    runs = httpx.post(f"{page}/api/flow_runs/filter", json={}, timeout=30).json()
    run = next(one for one in runs if one["name"] == "reprocess-job-1")
    html = seen(f"{page}/runs/flow-run/{run['id']}", tmp_path)
    wanted = {"logs": {"flow_run_id": {"any_": [run["id"]]}}}
    lines = httpx.post(f"{page}/api/logs/filter", json=wanted, timeout=30).json()

    assert "Completed" in html
    assert any(line["message"].startswith("Integrate: Mean I/σ(I)") for line in lines)
