"""Typed configs: what a YAML file may say, and how it is read.

``training`` and ``small_images`` say what the two kinds of files may hold, ``parts``
what they share, and ``reading`` reads a file with its overrides. Every key has a
description, from which the manual's reference is made. Only ``build`` and the stages
import this room; everything else takes objects, never configs.
"""
