"""Action-conditioned video world models: Ctrl-World first."""
