"""Compression that learns: the student network, what it is taught, and the loop that teaches it. Needs torch."""
