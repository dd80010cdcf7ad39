"""Policies: the built-in ones, clients of remote ones, and the names under which they are submitted."""
