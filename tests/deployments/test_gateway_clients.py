"""Who may ask the gateway: tokens, rights, how often; the commands of `limsflow client`."""

import argparse
import json
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from blocks.errors import InvalidRequest
from deployments.clients import Buckets, Clients, add_client, list_clients, remove_client
from deployments.endpoints import ENDPOINTS, RIGHTS

Printed = pytest.CaptureFixture[str]


def options(path: Path, name: str = "lims", *rights: str, **given: Any) -> argparse.Namespace:
    usual = {"rate": None, "burst": None, "renew": False, "json": True}
    return argparse.Namespace(name=name, clients=path, right=list(rights), **(usual | given))


def token_of(printed: Printed) -> str:
    return json.loads(printed.readouterr().out)["token"]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "home" / "clients.json"


def test_a_token_is_printed_once_and_kept_as_a_digest_that_only_its_owner_reads(
    path: Path, capsys: Printed
) -> None:
    add_client(options(path, "lims", "assemble"))
    token = token_of(capsys)
    list_clients(options(path))

    assert token.startswith("lf_")
    assert len(token) > 40
    assert token not in path.read_text() + capsys.readouterr().out
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert sorted(one.name for one in path.parent.iterdir()) == [path.name, f"{path.name}.lock"]


def test_a_client_is_known_by_its_token_and_may_do_what_was_said(
    path: Path, capsys: Printed
) -> None:
    add_client(options(path, "website", "assemble", "type", rate=2.5))
    client = Clients(path).of_token(token_of(capsys))

    assert client is not None
    assert (client.name, client.rate_per_s, client.burst) == ("website", 2.5, 50)
    assert [right for right in RIGHTS if client.may(right)] == ["assemble", "type"]


def test_who_may_do_all_may_do_what_joins_later(path: Path, capsys: Printed) -> None:
    add_client(options(path, "operator", "*"))
    client = Clients(path).of_token(token_of(capsys))

    assert client is not None
    assert client.may("a flow that nobody wrote yet")


@pytest.mark.parametrize("token", ["", "lf_", "lf_x", "\udcff", "\0"])
def test_a_token_that_nobody_has_is_nobody_s(path: Path, token: str) -> None:
    add_client(options(path, "lims", "read"))

    assert Clients(path).of_token(token) is None


def test_a_renewed_client_keeps_what_it_may_and_its_old_token_is_worth_nothing(
    path: Path, capsys: Printed
) -> None:
    add_client(options(path, "lims", "read", burst=7))
    old = token_of(capsys)
    clients = Clients(path)
    add_client(options(path, "lims", renew=True))
    new = token_of(capsys)

    assert clients.of_token(old) is None
    client = clients.of_token(new)
    assert client is not None
    assert (client.rights, client.burst) == ({"read"}, 7)


def test_a_removed_client_is_unknown_at_once(path: Path, capsys: Printed) -> None:
    add_client(options(path, "lims", "read"))
    token = token_of(capsys)
    clients = Clients(path)
    assert clients.of_token(token)
    remove_client(options(path, "lims"))

    assert clients.of_token(token) is None


def test_a_slip_of_the_editor_locks_nobody_out(
    path: Path, capsys: Printed, caplog: pytest.LogCaptureFixture
) -> None:
    add_client(options(path, "lims", "read"))
    token = token_of(capsys)
    clients = Clients(path)
    path.write_text('{"clients": [{"name": "lims"}]}')

    assert clients.of_token(token)
    assert "is no file of clients" in caplog.text
    with pytest.raises(InvalidRequest, match="is no file of clients"):
        Clients(path)


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (("lims", "fly"), "there is no right 'fly': the rights are assemble"),
        (("lims",), "say what 'lims' may do"),
        (("a b", "read"), "name: "),
        (("../x", "read"), "name: "),
        (("known", "read"), "there is a client 'known': --renew"),
    ],
)
def test_a_client_that_makes_no_sense_is_refused(
    path: Path, given: tuple[str, ...], reason: str
) -> None:
    add_client(options(path, "known", "read"))
    before = path.read_text()
    with pytest.raises(InvalidRequest, match=reason):
        add_client(options(path, *given))

    assert path.read_text() == before


@pytest.mark.parametrize("command", [remove_client, add_client])
def test_a_client_that_is_not_there_is_not_changed(path: Path, command: Any) -> None:
    with pytest.raises(InvalidRequest, match="there is no client 'nobody'"):
        command(options(path, "nobody", renew=True))


def test_a_rate_of_nothing_is_refused(path: Path) -> None:
    with pytest.raises(InvalidRequest, match="rate_per_s"):
        add_client(options(path, "lims", "read", rate=0.0))


def test_clients_that_are_added_at_once_are_all_there(path: Path) -> None:
    with ThreadPoolExecutor(8) as people:
        list(people.map(lambda n: add_client(options(path, f"lims-{n}", "read")), range(16)))

    assert len(json.loads(path.read_text())["clients"]) == 16


def test_a_file_that_is_not_there_holds_nobody(path: Path, capsys: Printed) -> None:
    assert Clients(path).of_token("lf_x") is None
    list_clients(options(path, json=False))
    assert "limsflow client add" in capsys.readouterr().out


def test_every_endpoint_has_a_right_and_an_address_of_its_own() -> None:
    assert len({(one.method, one.path) for one in ENDPOINTS}) == len(ENDPOINTS)
    assert {one.right for one in ENDPOINTS} <= set(RIGHTS)


# How often


def test_a_burst_is_let_through_and_then_as_often_as_the_rate_says() -> None:
    now = [0.0]
    buckets = Buckets(clock=lambda: now[0])
    burst = [buckets.wait_s("lims", 2.0, 3) for _ in range(4)]
    now[0] += 0.5
    later = [buckets.wait_s("lims", 2.0, 3) for _ in range(2)]

    assert burst == [0, 0, 0, 0.5]
    assert later == [0, 0.5]


def test_one_who_asks_too_often_does_not_hold_others_up() -> None:
    buckets = Buckets(clock=lambda: 0.0)
    buckets.wait_s("hasty", 1.0, 1)

    assert buckets.wait_s("hasty", 1.0, 1) > 0
    assert buckets.wait_s("patient", 1.0, 1) == 0


def test_a_bucket_never_holds_more_than_a_burst() -> None:
    now = [0.0]
    buckets = Buckets(clock=lambda: now[0])
    buckets.wait_s("lims", 10.0, 2)
    now[0] += 3600

    assert [buckets.wait_s("lims", 10.0, 2) > 0 for _ in range(3)] == [False, False, True]
