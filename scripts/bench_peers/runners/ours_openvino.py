"""This project's runtime with its encoder on OpenVINO."""

from __future__ import annotations

from functools import partial

from bench_peers.runners.child import run
from bench_peers.runners.ours import load

if __name__ == "__main__":
    run(("onnxruntime", "fastwhisper_compress.runtime"), partial(load, backend="openvino"))
