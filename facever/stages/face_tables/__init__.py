"""Tables on faces: each cell is trained, judged on pairs, and set beside the paper."""
