"""The one place for the version; the same as in configure.ac."""

__version__ = "0.1.0"
