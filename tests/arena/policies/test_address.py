"""Which addresses are a policy's, and which must never be connected to."""

from __future__ import annotations

import pytest

from arena.contracts import InvalidInput
from arena.policies.address import AddressRefused, Endpoint, is_public, parse_endpoint, resolve


@pytest.mark.parametrize(
    ("url", "endpoint"),
    [
        ("openpi://robot.example", Endpoint(False, "robot.example", 8000)),
        ("openpi://robot.example:9000", Endpoint(False, "robot.example", 9000)),
        ("ws://10.0.0.5:8000/policy", Endpoint(False, "10.0.0.5", 8000, "/policy")),
        ("wss://robot.example", Endpoint(True, "robot.example", 443)),
        ("openpi://[::1]:8000", Endpoint(False, "::1", 8000)),
        ("roboarena://robot.example", Endpoint(False, "robot.example", 8000)),
        ("roboarena+wss://robot.example/p", Endpoint(True, "robot.example", 443, "/p")),
        ("groot://robot.example", Endpoint(False, "robot.example", 5555, tcp=True)),
    ],
)
def test_addresses_are_parsed(url: str, endpoint: Endpoint) -> None:
    assert parse_endpoint(url) == endpoint


def test_an_endpoint_is_a_websocket_url() -> None:
    assert parse_endpoint("openpi://[::1]:8000").url == "ws://[::1]:8000"
    assert parse_endpoint("wss://robot.example/p").url == "wss://robot.example:443/p"
    assert parse_endpoint("groot://[::1]").url == "tcp://[::1]:5555"


@pytest.mark.parametrize(
    "url",
    [
        "http://robot.example",
        "file:///etc/passwd",
        "openpi://",
        "openpi://:8000",
        "openpi://host:port",
        "openpi://host:99999",
        "ws://user:secret@host:8000",
        "openpi://a b:8000",
        "openpi://[::1",
    ],
)
def test_bad_addresses_are_refused(url: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_endpoint(url)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "127.8.9.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0",
        "224.0.0.1", "255.255.255.255", "::1", "::", "fe80::1", "fe80::1%eth0", "fc00::1", "ff02::1",
        "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::7f00:1", "64:ff9b::7f00:1", "64:ff9b::a00:1", "64:ff9b:1::1",
        "2002:7f00:1::", "2001:0:7f00:1::",
    ],
)  # fmt: skip
def test_private_addresses(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", ["8.8.8.8", "1.1.1.1", "2606:4700::1111", "::ffff:8.8.8.8"])
def test_public_addresses(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize("host", ["127.1", "2130706433", "0x7f000001", "localhost", "0", "[64:ff9b::7f00:1]", "[::1]"])
def test_unusual_spellings_of_loopback_are_refused(host: str) -> None:
    with pytest.raises(AddressRefused, match=r"not on the public internet|has no address"):
        resolve(parse_endpoint(f"openpi://{host}:8000"), allow_private=False)


def test_loopback_is_fine_on_a_laptop() -> None:
    assert resolve(Endpoint(False, "127.1", 8000), allow_private=True) == ("127.0.0.1",)
