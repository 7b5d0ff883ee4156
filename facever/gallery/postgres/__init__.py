"""Galleries in PostgreSQL, whose extension pgvector holds and compares embeddings.

``gallery`` is the way in; ``server`` is the connection and what goes wrong there,
``tables`` what lies in the database, ``rows`` an entry as a row of it.
"""
