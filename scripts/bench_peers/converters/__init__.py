"""Writers of formats whose own converter comes in no package: ``python -m bench_peers.converters.NAME``."""
