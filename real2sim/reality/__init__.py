"""The stand-in robot: Meta-World, driven, recorded and played as a `World`."""
