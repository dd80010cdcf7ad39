"""Metric Gaussian scenes: their files, their rasteriser, and how they are fitted to posed frames."""
