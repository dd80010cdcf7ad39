"""Blind votes by people: which pair a voter is shown, whether a vote counts, and how far a voter can be believed.

`desk.py` is where voters come: it hands out signed pairs and takes each of them back once.
"""
