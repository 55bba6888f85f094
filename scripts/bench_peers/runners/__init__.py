"""One program per peer: ``python -m bench_peers.runners.NAME SPEC.json``, a JSON line on standard output."""
