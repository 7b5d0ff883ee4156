"""Galleries in PostgreSQL, whose extension pgvector holds and compares embeddings.

``gallery`` is the way in; ``server`` is the connection and what goes wrong there,
``tables`` what lies in the database, ``rows`` an entry as a row of it. ``searching``
looks for the nearest photos, by ``nearest`` or by one of the ``graphs``, and
``index_audit`` measures what these miss.
"""
