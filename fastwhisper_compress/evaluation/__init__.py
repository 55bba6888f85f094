"""How good, how big, how fast: suites, a measuring process, error rates and honest intervals.

This file stays empty of imports on purpose: the measuring process (``runner``) starts here, and whatever is imported
would count as memory of the model it measures.
"""
