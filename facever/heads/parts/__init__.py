"""What several heads are built from: class vectors, centers, anchors, distances.

``classifying_head`` is the base of heads with a learned vector for each class;
``class_logits`` and ``sharded_rows`` compute with these vectors, held by one process or
by several; ``class_centers`` and ``fixed_anchors`` are the places that metric losses
pull classes to; ``distance_logits``, ``multiple_angle`` and ``annealing`` serve two
heads each.
"""
