"""Whole updates: the real programs on a simulated gateway, against the stand-in cloud."""
