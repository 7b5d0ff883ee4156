"""Typed configs: what a YAML file may say, and how it is read.

Only ``build`` and the stages import this; engines take objects.
"""
