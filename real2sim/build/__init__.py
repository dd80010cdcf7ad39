"""From an episode to a twin: stages that can be resumed, each with a gate."""

from real2sim.build.chain import REPORT, Built, build_twin, read_report
from real2sim.build.settings import BuildSettings
from real2sim.build.tools import tools_digest

__all__ = ["REPORT", "BuildSettings", "Built", "build_twin", "read_report", "tools_digest"]
