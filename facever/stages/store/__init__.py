"""The stages of ``facever data``: what can be done with crop stores.

``facts`` (info, verify), ``changes`` (merge, subset, split, compress), ``export`` and
``clean``.
"""
