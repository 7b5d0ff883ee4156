"""The stages of ``facever gallery``: one file for each group of its commands."""
