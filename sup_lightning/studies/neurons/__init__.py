"""Neuron superposition in language models: which neurons hold a feature, and how a model tells their meanings apart."""
