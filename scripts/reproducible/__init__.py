"""One recipe run twice, in two worlds that have nothing in common but the machine; used by ``reproduce.py`` and the tests."""
