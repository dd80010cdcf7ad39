"""The viewer answers in a browser's language."""

from __future__ import annotations

import urllib.request

import pytest

from real2sim.twin.bundle import Twin
from real2sim.twin.view import serve


def test_a_twin_can_be_looked_at(small_twin: Twin) -> None:
    pytest.importorskip("viser")
    server = serve(small_twin, "127.0.0.1", 0)
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{server.get_port()}", timeout=20) as page:
            assert page.status == 200
            assert b"<html" in page.read().lower()
        names = set(server.scene._handle_from_node_name)
        assert {"/background", "/things/object_1/splats", "/cameras/wrist"} <= names
        assert any(name.startswith("/robot/") for name in names)
    finally:
        server.stop()
