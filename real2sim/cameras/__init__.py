"""Where the cameras of an episode stand, from the robot itself: the first stage of a twin.

`solve_exterior` finds a static camera (and its focal length) from the moving robot's silhouette at known joints.
"""

from real2sim.cameras.exterior import ExteriorFit, solve_exterior

__all__ = ["ExteriorFit", "solve_exterior"]
