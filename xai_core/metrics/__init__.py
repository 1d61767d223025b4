"""Measurements of attribution maps: one file for each kind, the table of all in `catalog.py`."""
