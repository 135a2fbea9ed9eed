"""Executables for tests: they check what they are asked, then replay a recorded run of xia2."""

import sys
from pathlib import Path

from tests.fakes.xia2_runs import GOOD, RECORDED

# What the stand-in for xia2 does on its first, second ... start; the last goes on for ever.
XIA2 = """#!{python}
import os, pathlib, re, shutil, subprocess, sys, time
recorded, good = pathlib.Path({recorded!r}), {good!r}
started = pathlib.Path(__file__).with_name("started")
with started.open("a") as log:
    log.write(os.getcwd() + "\\t" + "\\t".join(sys.argv[1:]) + "\\n")
plan = {plan!r}
deed = plan[min(len(started.read_text().splitlines()), len(plan)) - 1]
here = pathlib.Path.cwd()
for argument in sys.argv[1:]:
    image = re.fullmatch(r"image=(.*?):(\\d+):(\\d+)", argument)
    if image and not pathlib.Path(image[1]).exists():
        line = f"Error: Could not find {{image[1]}} in {{here}}"
        (here / "xia2.txt").write_text(line + "\\n")
        print(line)
        sys.exit(1)
if deed == "hang":
    subprocess.Popen(["sleep", "1000"], start_new_session=True)
    print("-------------------- Spotfinding SWEEP1 --------------------", flush=True)
    time.sleep(1000)
if deed == "out of memory":
    (here / "xia2-error.txt").write_text("Traceback ...\\nMemoryError\\n")
    (here / "xia2.txt").write_text("Error: std::bad_alloc\\n")
    sys.exit(1)
case = recorded / (good if deed == "good" else "cases/" + deed)
for line in (case / "files.txt").read_text().splitlines():
    kind, size, name = line.split(maxsplit=2)
    path = here / re.sub(r"^(\\./|wd/)", "", name)
    path.mkdir(parents=True, exist_ok=True) if kind == "d" else path.touch()
for path in case.iterdir():
    if path.is_file() and path.name not in ("files.txt", "ispyb.json", "stdout.txt"):
        shutil.copy(path, here / path.name)
for path in (case / "LogFiles").glob("*.json"):
    shutil.copy(path, here / "LogFiles" / path.name)
sys.stdout.write((case / "stdout.txt").read_text())
sys.stderr.write((case / "stderr.txt").read_text())
sys.exit(int(re.search(r"exit=(\\d+)", (case / "result.txt").read_text())[1]))
"""

ISPYB_JSON = """#!{python}
import json, pathlib, re, sys
document = json.loads(pathlib.Path({source!r}).read_text())
asked = pathlib.Path(__file__).with_name("started").read_text().splitlines()[-1].split("\\t")
sweeps = [re.fullmatch(r"image=(.*)/(.*?)(\\d+)(\\.cbf):(\\d+):(\\d+)", a) for a in asked]
container = document["AutoProcScalingContainer"]
(one,) = container["AutoProcIntegrationContainer"]
container["AutoProcIntegrationContainer"] = [
    {{"Image": {{"fileLocation": s[1], "fileName": s[2] + "0" * len(s[3]) + s[4]}},
      "AutoProcIntegration": one["AutoProcIntegration"]
      | {{"startImageNumber": int(s[5]), "endImageNumber": int(s[6])}}}}
    for s in sweeps if s
]
pathlib.Path("ispyb.json").write_text(json.dumps(document))
"""


RESOLUTION = """#!{python}
import pathlib, sys
assert [pathlib.Path(name).is_file() for name in sys.argv[1:3]] == [True, True], sys.argv
assert sys.argv[3:] == ["misigma=2"], sys.argv
text = "DIALS 3.30\\nResolution Mn(I/sig):     1.52\\n"
pathlib.Path("dials.estimate_resolution.log").write_text(text)
"""


def fake_xia2(directory: Path, *deeds: str) -> Path:
    """Write stand-ins for xia2 and its converter; return the directory that they are in.

    Args:
        directory: Made if it is missing.
        deeds: What it does at each start: "good", a recorded case, "out of memory", "hang".
    """
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "started").touch()
    values = {"python": sys.executable, "recorded": str(RECORDED), "good": GOOD}
    source = str(RECORDED / GOOD / "ispyb.json")
    script(directory / "xia2", XIA2.format(**values, plan=list(deeds) or ["good"]))
    script(directory / "xia2.ispyb_json", ISPYB_JSON.format(python=sys.executable, source=source))
    script(directory / "dials.estimate_resolution", RESOLUTION.format(python=sys.executable))
    return directory


def starts(directory: Path) -> list[list[str]]:
    """Return working directory and arguments of each start of the stand-in for xia2."""
    return [line.split("\t") for line in (directory / "started").read_text().splitlines()]


def script(path: Path, text: str) -> Path:
    """Write an executable file."""
    path.write_text(text)
    path.chmod(0o755)
    return path
