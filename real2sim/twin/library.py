"""Open3D and coacd, imported here and nowhere else: a clear line where they or their libraries are missing."""

from __future__ import annotations

from arena.contracts import InvalidInput

# isort: off
try:
    # In this order: Open3D does not load after coacd (std::bad_cast).
    import open3d
    import coacd
except (ImportError, OSError) as error:
    raise InvalidInput(
        f"digital twins need Open3D and coacd ({error}): pip install 'dreamarena[twins]', "
        "and for Open3D the Debian packages libusb-1.0-0 libgl1 libgomp1"
    ) from error
# isort: on

__all__ = ["coacd", "open3d"]

coacd.set_log_level("error")
