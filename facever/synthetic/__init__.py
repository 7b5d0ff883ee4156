"""Faces of nobody: photos drawn in code, so that everything runs without a download.

A person is a set of lasting parameters (geometry, colours, hair, marks); a photo adds
pose, light, expression, things in the way, background and camera. Both follow from
integers alone, so a photo can be drawn again at any time, with its true landmarks.

``folders`` writes populations of photos and pairs; ``drawing`` draws one photo. Who
the person is says ``identity``, and what differs from photo to photo ``conditions``.
``head`` and ``growth`` shape the head and its hair in ``space``; ``features`` and
``hair`` paint them with a ``brush``; ``light`` and ``camera`` make a photo of it.
"""

from facever.synthetic.drawing import SyntheticPhoto, draw_face
from facever.synthetic.folders import identity_name, write_pairs, write_photos

__all__ = [
    "SyntheticPhoto",
    "draw_face",
    "identity_name",
    "write_pairs",
    "write_photos",
]
