"""Files of strangers read as data: nothing in them is unpickled or executed, and sizes are bounded."""
