"""Open3D and coacd, imported here and nowhere else: a clear line where they or their libraries are missing."""

from __future__ import annotations

import importlib
from types import ModuleType

from arena.contracts import InvalidInput


def _import(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except (ImportError, OSError) as error:
        raise InvalidInput(
            f"digital twins need {name} ({error}): pip install 'dreamarena[twins]', "
            "and for Open3D the Debian packages libusb-1.0-0 libgl1 libgomp1"
        ) from error


open3d = _import("open3d")
coacd = _import("coacd")
coacd.set_log_level("error")
