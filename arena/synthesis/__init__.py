"""Synthetic fine-tuning data: planned, rolled out in a world, judged, selected and exported (`docs/synthesis.md`)."""
