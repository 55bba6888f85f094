"""Files that mean harm or are merely broken, each made from a number; used by ``fuzz.py`` and the tests."""
