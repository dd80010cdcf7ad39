"""Open3D and coacd, imported here and nowhere else: a clear line where they or their libraries are missing.

Open3D comes first: after coacd 1.0.14 it cannot be imported (`std::bad_cast`).
"""

from __future__ import annotations

from arena.contracts import InvalidInput

try:
    # isort: off
    import open3d
    import coacd

    # isort: on
except (ImportError, OSError, RuntimeError) as error:
    raise InvalidInput(
        f"digital twins need Open3D and coacd ({error}): pip install 'dreamarena[twins]', "
        "and for Open3D the Debian packages libusb-1.0-0 libgl1 libgomp1"
    ) from error

coacd.set_log_level("error")
__all__ = ["coacd", "open3d"]
