"""Evaluation of agents: episodes on given seeds, and scores over seeds and environments."""
