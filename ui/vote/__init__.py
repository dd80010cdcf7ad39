"""Voting: the page, the routes that its script talks to, and what they share."""
