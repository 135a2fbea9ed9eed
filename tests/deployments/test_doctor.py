"""`limsflow doctor`: what is missing, whether it matters, and the exit status that says so."""

import json
import socket
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from deployments.cli import main
from deployments.doctor import DIALS

Look = Callable[[], tuple[int, dict[str, dict[str, Any]]]]


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with nothing on its PATH and no Prefect; returns the empty directory on it."""
    programs = tmp_path / "bin"
    programs.mkdir()
    monkeypatch.setenv("PATH", str(programs))
    monkeypatch.setenv("LIMSFLOW_HOME", str(tmp_path / "home"))
    for name in ("PREFECT_API_URL", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    return programs


@pytest.fixture
def doctor(bare: Path, capsys: pytest.CaptureFixture[str]) -> Look:
    """The command with --json: its exit status, and its findings by name."""

    def look() -> tuple[int, dict[str, dict[str, Any]]]:
        status = main(["doctor", "--json"])
        return status, {one["what"]: one for one in json.loads(capsys.readouterr().out)}

    return look


@pytest.fixture
def closed_port() -> Iterator[int]:
    """A port that is taken, on which nobody listens: every connection is refused."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


class Answer(BaseHTTPRequestHandler):
    """A server that is healthy at /api/health only."""

    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/api/health" else 503)
        self.end_headers()

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Say nothing."""


@pytest.fixture
def server() -> Iterator[str]:
    """The address of a server that answers."""
    with HTTPServer(("127.0.0.1", 0), Answer) as http:
        threading.Thread(target=http.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{http.server_port}"
        http.shutdown()


def a_program(directory: Path, name: str) -> None:
    (directory / name).write_text("#!/bin/sh\n")
    (directory / name).chmod(0o755)


def line_of(text: str, what: str) -> str:
    return next(line for line in text.splitlines() if line[9:].startswith(what))


def test_on_a_bare_machine_dials_is_absent_and_that_is_no_failure(
    bare: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status = main(["doctor"])

    text = capsys.readouterr().out
    assert status == 0
    assert line_of(text, "DIALS").startswith("absent   DIALS              not on the PATH: dials.")
    assert line_of(text, "Python").startswith("ok       Python             3.")
    assert "MISSING" not in text


def test_every_line_of_the_text_is_a_finding_of_the_json(
    doctor: Look, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["doctor"])
    text = capsys.readouterr().out

    _, findings = doctor()

    assert [line[9:27].strip() for line in text.splitlines()] == list(findings)
    assert {"Python", "Prefect", "FastAPI", "DIALS", "xia2", "Prefect server"} <= set(findings)


def test_a_finding_says_whether_it_is_needed(doctor: Look) -> None:
    _, findings = doctor()

    assert (findings["DIALS"]["ok"], findings["DIALS"]["needed"]) == (False, False)
    assert (findings["Python"]["ok"], findings["Python"]["needed"]) == (True, True)


def test_dials_is_found_where_all_its_programs_are(doctor: Look, bare: Path) -> None:
    for name in DIALS:
        a_program(bare, name)

    _, findings = doctor()

    assert findings["DIALS"]["ok"]
    assert findings["DIALS"]["found"] == str(bare / "dials.import")


def test_half_a_dials_is_none_and_the_missing_half_is_named(doctor: Look, bare: Path) -> None:
    for name in DIALS[:-1]:
        a_program(bare, name)

    _, findings = doctor()

    assert not findings["DIALS"]["ok"]
    assert findings["DIALS"]["found"].startswith("not on the PATH: dials.merge;")


@pytest.mark.parametrize("name", ["xia2", "freerflag", "mariadbd"])
def test_a_program_is_absent_until_it_is_on_the_path(doctor: Look, bare: Path, name: str) -> None:
    assert not doctor()[1][name]["ok"]

    a_program(bare, name)

    assert doctor()[1][name] == {
        "what": name, "found": str(bare / name), "ok": True, "needed": False,
    }  # fmt: skip


def test_the_disk_is_the_one_that_the_home_will_be_on(doctor: Look, tmp_path: Path) -> None:
    _, findings = doctor()

    assert findings["disk"]["found"].endswith(f" GiB free in {tmp_path}")


def test_a_prefect_server_that_does_not_answer_is_missing(
    bare: Path,
    closed_port: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("PREFECT_API_URL", f"http://127.0.0.1:{closed_port}/api")

    status = main(["doctor"])

    line = line_of(capsys.readouterr().out, "Prefect server")
    assert (status, line[:8]) == (1, "MISSING ")
    assert f"http://127.0.0.1:{closed_port}/api" in line


@pytest.mark.parametrize(("api", "status"), [("/api", 0), ("/elsewhere", 1)])
def test_a_prefect_server_is_there_if_it_says_that_it_is_healthy(
    doctor: Look, server: str, monkeypatch: pytest.MonkeyPatch, api: str, status: int
) -> None:
    monkeypatch.setenv("PREFECT_API_URL", f"{server}{api}")

    ended, findings = doctor()

    assert (ended, findings["Prefect server"]["ok"]) == (status, status == 0)


@pytest.mark.parametrize("url", ["nonsense", "http://127.0.0.1:port/api", "http://[::1/api"])
def test_an_address_that_is_none_is_missing_and_no_traceback(
    doctor: Look, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    monkeypatch.setenv("PREFECT_API_URL", url)

    status, findings = doctor()

    assert (status, findings["Prefect server"]["ok"]) == (1, False)


def test_a_password_in_the_address_is_not_shown(
    doctor: Look, closed_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PREFECT_API_URL", f"http://me:hunter2@127.0.0.1:{closed_port}/api")

    _, findings = doctor()

    assert "hunter2" not in findings["Prefect server"]["found"]
