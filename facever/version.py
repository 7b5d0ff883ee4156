"""The version of facever, kept here alone."""

__version__ = "0.1.0"
