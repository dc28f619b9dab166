"""Variants of the toy models: other activations, losses, features and functions, beside exact computations."""
