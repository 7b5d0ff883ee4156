"""Tables of papers beside ours: rows over seeds, sweeps as curves, class angles."""
