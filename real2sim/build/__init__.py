"""From an episode to a twin: stages that can be resumed, each with a gate."""

from real2sim.build.chain import Built, build_twin
from real2sim.build.settings import BuildSettings

__all__ = ["BuildSettings", "Built", "build_twin"]
