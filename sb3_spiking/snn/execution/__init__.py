"""Execution of spiking layers."""
