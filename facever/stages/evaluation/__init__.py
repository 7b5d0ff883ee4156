"""``facever evaluate``: one module for each kind of protocol, and what they share.

``evaluate`` judges lists of pairs, ``view_1`` LFW's development pairs, ``videos``
YouTube Faces, ``templates`` IJB-B and IJB-C, ``identify`` galleries and BLUFR,
``compare`` finished reports, and ``unrestricted`` a fold of LFW with a training of its
own. ``features`` finds the embeddings, ``judging`` holds how they are compared,
``pair_protocols`` the table of protocols that need no module of their own.
"""
