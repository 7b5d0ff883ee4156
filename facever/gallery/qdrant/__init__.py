"""A gallery in a Qdrant database; experimental until it has run against a real server.

``collection`` speaks with the server, ``errors`` translates what goes wrong, ``points``
and ``meta`` say how entries and metadata are stored, ``gallery`` puts them together.
"""
