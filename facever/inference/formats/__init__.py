"""The formats of model files."""
