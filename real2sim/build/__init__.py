"""From an episode to a twin: stages that can be resumed, each with a gate."""

from real2sim.build.chain import BuildSettings, Built, build_twin

__all__ = ["BuildSettings", "Built", "build_twin"]
