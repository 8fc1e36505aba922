"""Policies for sb3-contrib, which is imported in this package alone."""
