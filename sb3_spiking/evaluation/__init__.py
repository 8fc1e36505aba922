"""Evaluation of agents over seeds and environments."""
