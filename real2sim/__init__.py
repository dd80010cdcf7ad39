"""Robots, simulators and digital twins."""
