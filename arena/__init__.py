"""Contracts, episodes, policies, the rollout loop, judges and rankings."""
