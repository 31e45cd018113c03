"""``xsock interfaces`` lists what the library lists."""

from __future__ import annotations

import json

import pytest

from trio_xsock import NetworkInterface, network_interfaces
from trio_xsock._cli import _interfaces, main


def test_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["interfaces", "--json"]) == 0
    facts = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    for fact, interface in zip(facts, network_interfaces(), strict=True):
        assert fact.pop("event") == "interface"
        assert {**fact, "addresses": tuple(fact["addresses"])} == {
            name: getattr(interface, name) for name in NetworkInterface.__slots__
        }


def test_as_a_table(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    interfaces = (
        NetworkInterface(
            "eth0",
            "192.0.2.2",
            "255.255.255.0",
            "02:fc:00:00:00:01",
            ("192.0.2.2", "fe80::1%eth0"),
            True,
            False,
            1400,
        ),
        NetworkInterface("\x1b[2J", "", "", "", (), True, False, 0),
    )
    monkeypatch.setattr(_interfaces, "network_interfaces", lambda: interfaces)
    assert main(["interfaces"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "   name     address    mask           hardware address   MTU   further addresses",
        "0  eth0     192.0.2.2  255.255.255.0  02:fc:00:00:00:01  1400  fe80::1%eth0",
        "1  \\x1b[2J                                               0",
    ]
