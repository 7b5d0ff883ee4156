"""Faces without names, sorted by person.

``face_clusters`` is the way in: embeddings become clusters, by one of its ``METHODS``,
which are ``agglomerative`` and ``density``. ``sheets`` shows the crops of each cluster.
"""
