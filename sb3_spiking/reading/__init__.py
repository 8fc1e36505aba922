"""Untrusted files read as data: nothing in them is unpickled or executed, and sizes are bounded."""
