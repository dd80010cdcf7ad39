"""From an episode to a twin: stages that can be resumed, each with a gate."""

from real2sim.reconstruct.chain import REPORT, Built, build_twin, read_report
from real2sim.reconstruct.settings import BuildSettings
from real2sim.reconstruct.tools import tools_digest

__all__ = ["REPORT", "BuildSettings", "Built", "build_twin", "read_report", "tools_digest"]
