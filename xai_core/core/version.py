"""The version of the package: its only place. Every export and run names it."""

__version__ = "0.2.0.dev0"
