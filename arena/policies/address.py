"""Where a remote policy lives, and whether we may connect there.

A name is resolved once and the connection goes to the address that was judged, so that a name that
changes its address between the check and the connection (DNS rebinding) gains nothing.
"""

from __future__ import annotations

import ipaddress
import socket
from dataclasses import dataclass
from urllib.parse import urlsplit

from arena.contracts import InvalidInput


@dataclass(frozen=True)
class _Scheme:
    secure: bool
    port: int
    tcp: bool = False


SCHEMES = {
    "openpi": _Scheme(False, 8000),  # of openpi's `serve_policy.py`
    "ws": _Scheme(False, 8000),
    "wss": _Scheme(True, 443),
    "roboarena": _Scheme(False, 8000),
    "roboarena+wss": _Scheme(True, 443),
    "groot": _Scheme(False, 5555, tcp=True),  # of Isaac-GR00T's `run_gr00t_server.py`
}
"""What the address of a policy server begins with, whether that means TLS, and where such servers listen."""

# Address ranges that carry an IPv4 address inside: a gateway may turn them into loopback or a private network.
_TRANSLATED = tuple(
    ipaddress.IPv6Network(network) for network in ("::/96", "64:ff9b::/96", "64:ff9b:1::/48", "2002::/16", "2001::/32")
)


class AddressRefused(InvalidInput):
    """A host that has no address, or one that we may not connect to."""


@dataclass(frozen=True)
class Endpoint:
    """A websocket address, or a plain TCP one. `host` is as written, for the TLS name and the Host header."""

    secure: bool
    host: str
    port: int
    path: str = ""
    tcp: bool = False

    @property
    def url(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'tcp' if self.tcp else 'wss' if self.secure else 'ws'}://{host}:{self.port}{self.path}"


def parse_endpoint(url: str) -> Endpoint:
    """An address such as `openpi://host[:port]`, `wss://host[:port][/path]` or `groot://host`, without its query.

    Raises `InvalidInput` for another scheme, a missing host, a bad port, or credentials in the address
    (they would end up in the store and on the leaderboard).
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise InvalidInput(f"{url!r} is not an address: {error}") from error
    scheme = SCHEMES.get(parts.scheme)
    if scheme is None:
        raise InvalidInput(f"{url!r} must begin with one of {', '.join(f'{name}://' for name in SCHEMES)}")
    if parts.username is not None or parts.password is not None:
        raise InvalidInput("a policy's address must not hold a user name or password; give the key apart")
    if not parts.hostname or not parts.hostname.isprintable() or " " in parts.hostname:
        raise InvalidInput(f"{url!r} names no host; write for instance {parts.scheme}://localhost:{scheme.port}")
    if scheme.tcp and parts.path not in ("", "/"):
        raise InvalidInput(f"{url!r}: a {parts.scheme} server is a host and a port and has no path")
    path = "" if scheme.tcp else parts.path
    return Endpoint(scheme.secure, parts.hostname, port or scheme.port, path, scheme.tcp)


def resolve(endpoint: Endpoint, allow_private: bool) -> tuple[str, ...]:
    """The numeric addresses of the endpoint, to be connected to instead of its name.

    Raises `AddressRefused` where the name does not resolve or, unless `allow_private`, where any of its
    addresses is not on the public internet: loopback, private, link-local, multicast, or one that carries
    an IPv4 address inside (`64:ff9b::/96`, `2002::/16`...). Unusual spellings (`127.1`, `2130706433`) are
    judged by the address that they stand for.
    """
    try:
        found = socket.getaddrinfo(endpoint.host, endpoint.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise AddressRefused(f"the host {endpoint.host!r} has no address: {error}") from error
    addresses = tuple(dict.fromkeys(str(entry[4][0]) for entry in found))
    if not allow_private:
        for address in addresses:
            if not is_public(address):
                raise AddressRefused(
                    f"the host {endpoint.host!r} is at {address}, which is not on the public internet; "
                    "policies on private networks are not allowed here"
                )
    return addresses


def is_public(address: str) -> bool:
    """Whether a numeric address is a host on the public internet."""
    ip = ipaddress.ip_address(address.split("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.ipv4_mapped is not None:
            return is_public(str(ip.ipv4_mapped))
        if any(ip in network for network in _TRANSLATED):
            return False
    return ip.is_global and not (ip.is_multicast or ip.is_reserved or ip.is_unspecified)
