"""Trajectories to datasets that training code reads: LeRobotDataset v3.0, and v2.1 with openpi's names."""

from arena.synthesis.export.run import ExportReport, export_dataset
from arena.synthesis.export.targets import FORMATS, TARGETS, ExportSpec, Format, Target
from arena.synthesis.export.trajectory import Origin, Trajectory

__all__ = [
    "FORMATS",
    "TARGETS",
    "ExportReport",
    "ExportSpec",
    "Format",
    "Origin",
    "Target",
    "Trajectory",
    "export_dataset",
]
