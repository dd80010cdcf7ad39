"""Judges: what scores a rollout where the world cannot."""
