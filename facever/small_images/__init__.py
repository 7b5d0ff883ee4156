"""The papers' experiments on small images: training in memory, measuring, figures."""
