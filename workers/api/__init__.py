"""The HTTP API: what people and programs elsewhere may ask of a dreamarena, and what they are told."""
