"""Twins of many episodes of one rig: what all of them share is found once, what differs from it is each one's own."""
