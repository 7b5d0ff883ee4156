"""A gallery in a folder: an SQLite database, and an index that follows it.

``database`` is SQLite with transactions that survive a kill, ``tables`` the schema,
``store`` the questions and changes in SQL. ``searching`` searches an index,
``index_rows`` knows which photos its rows are, ``index_building`` decides which index
is used and when it is built again, ``index_file`` keeps it on disk, ``index_audit``
measures what it misses. ``gallery`` puts them together.
"""
