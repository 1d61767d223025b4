"""Altair charts of runs."""
