"""The papers' object experiments: training in memory, measuring, figures."""
