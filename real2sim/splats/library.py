"""gsplat's own torch code, which runs without CUDA: imported here and nowhere else on the CPU's path.

These functions are gsplat's readable reference of its CUDA kernels (`gsplat.cuda._torch_impl`). They are private
there, so a gsplat without them is refused with a clear line instead of failing in the middle of a fit.
"""

from __future__ import annotations

from arena.contracts import InvalidInput

try:
    from gsplat.cuda._torch_impl import (
        _eval_sh_bases_fast as harmonic_bases,
    )
    from gsplat.cuda._torch_impl import (
        _fully_fused_projection as project,
    )
    from gsplat.cuda._torch_impl import (
        _quat_scale_to_covar_preci as covariances,
    )
    from gsplat.cuda._torch_impl import (
        _quat_to_rotmat as quaternion_to_matrix,
    )
except ImportError as error:
    raise InvalidInput(f"digital twins need gsplat 1.5 ({error}): pip install 'dreamarena[twins]'") from error

__all__ = ["covariances", "harmonic_bases", "project", "quaternion_to_matrix"]
