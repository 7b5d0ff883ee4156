"""The formats of model files, and what computes the networks in them."""
