"""What stands in the files: types at the door, fusions, names, the weight file's layout, the tied embedding."""

from __future__ import annotations

import json
from collections import Counter

import numpy as np
import onnx
import pytest
from onnx import TensorProto
from small_whisper import SCHEMES, small_checkpoint, uniform_plan, with_decoding

from fastwhisper_compress.checkpoint.dims import modules
from fastwhisper_compress.emit.artifact import GRAPHS, WEIGHTS, emit
from fastwhisper_compress.emit.graph import MS, Graph, WeightFile

ON_CUDA = [name for name in SCHEMES if name != "int8_dynamic"]
EVERY_PLAN = [(s, f, "cpu") for s in SCHEMES for f in (True, False)] + [
    (s, f, "cuda") for s in ON_CUDA for f in (True, False)
]
every_plan = pytest.mark.parametrize(("scheme", "fuse", "provider"), EVERY_PLAN)

FLOAT, FLOAT16 = TensorProto.FLOAT, TensorProto.FLOAT16


def door(values):
    found = {}
    for value in values:
        shape = value.type.tensor_type.shape.dim
        found[value.name] = (value.type.tensor_type.elem_type, [d.dim_param or d.dim_value for d in shape])
    return found


def placed(graphs):
    """Every external tensor: name, dtype, shape, offset, length."""
    for graph in graphs.values():
        for tensor in graph.initializer:
            if tensor.data_location == TensorProto.EXTERNAL:
                entry = {pair.key: pair.value for pair in tensor.external_data}
                assert entry["location"] == "weights.bin"
                yield tensor.name, tensor.data_type, list(tensor.dims), int(entry["offset"]), int(entry["length"])


@every_plan
def test_audio_logits_and_ids_keep_their_types_and_the_cache_has_the_plans(emitted, checkpoint, scheme, fuse, provider):
    graphs, dims = emitted(scheme, fuse=fuse, provider=provider).graphs, checkpoint.dims
    half = provider == "cuda" and scheme != "fp32"
    assert emitted(scheme, fuse=fuse, provider=provider).plan.kv_dtype == ("fp16" if half else "fp32")
    kv = FLOAT16 if half else FLOAT
    text, audio = ["batch", 2, dims.n_text_ctx, 64], ["batch", 2, "audio", 64]
    pair = {"key": None, "value": None}
    assert door(graphs["log_mel"].input) == {"audio": (FLOAT, ["batch", "samples"])}
    assert door(graphs["log_mel"].output) == {"mel": (FLOAT, ["batch", 80, 100])}
    assert door(graphs["encoder"].input) == {"mel": (FLOAT, ["batch", 80, "frames"])}
    assert door(graphs["encoder"].output) == {
        "hidden": (FLOAT, ["batch", "audio", 128]),
        **{f"cross_{part}.0": (kv, audio) for part in pair},
    }
    assert door(graphs["decoder"].input) == {
        "input_ids": (TensorProto.INT64, ["batch", "tokens"]),
        "past_length": (TensorProto.INT32, [1]),
        **{f"past_{part}.0": (kv, text) for part in pair},
        **{f"cross_{part}.0": (kv, audio) for part in pair},
    }
    assert door(graphs["decoder"].output) == {
        "logits": (FLOAT, ["batch", dims.n_vocab]),
        **{f"present_{part}.0": (kv, text) for part in pair},
    }


@every_plan
def test_graphs_are_valid_onnx_and_every_node_has_a_name_of_its_own(emitted, scheme, fuse, provider):
    made = emitted(scheme, fuse=fuse, provider=provider)
    for name, file in GRAPHS.items():
        onnx.checker.check_model(made.folder / file)
        names = [node.name for node in made.graphs[name].node]
        assert all(names)
        assert max(Counter(names).values()) == 1
        used = {value for node in made.graphs[name].node for value in node.input}
        used |= {value.name for value in made.graphs[name].output}
        unused = {tensor.name for tensor in made.graphs[name].initializer} - used
        assert not unused


@every_plan
def test_without_fuse_all_operators_are_standard(emitted, scheme, fuse, provider):
    made = emitted(scheme, fuse=fuse, provider=provider)
    ours = Counter(n.op_type for g in made.graphs.values() for n in g.node if n.domain == MS)
    if not fuse:
        assert not ours
        assert made.emission.fusions == {}
        return
    # A cuda decoder masks its own text by standard operators: attention is fused in 2 encoder layers and across.
    # A cpu adds faster before a layer norm than in it.
    expected = (
        {"MultiHeadAttention": 4} if provider == "cpu" else {"MultiHeadAttention": 3, "SkipLayerNormalization": 9 - 2}
    )
    linears = (
        2 * 6 + 2 + 6 + 1
    )  # encoder: q, k, v, out, fc1, fc2; cross k, v; decoder: qkv, out, q, out, fc1, fc2; logits
    if scheme == "int8_dynamic":
        expected["DynamicQuantizeMatMul"] = linears
    if SCHEMES[scheme].scheme == "weight_only":
        expected |= {"MatMulNBits": linears, "GatherBlockQuantized": 1}
    assert ours == expected
    counted = made.emission.fusions
    assert counted["attention"] == expected["MultiHeadAttention"]
    assert counted.get("skip_layer_norm", 0) == expected.get("SkipLayerNormalization", 0)
    assert counted["packed_qkv"] == 1
    assert counted.get("dynamic_quantize_matmul", 0) == expected.get("DynamicQuantizeMatMul", 0)
    assert counted.get("matmul_nbits", 0) == expected.get("MatMulNBits", 0)
    assert counted.get("gather_block_quantized", 0) == expected.get("GatherBlockQuantized", 0)


@every_plan
def test_the_weight_file_is_packed_and_mappable(emitted, scheme, fuse, provider):
    made = emitted(scheme, fuse=fuse, provider=provider)
    size = (made.folder / WEIGHTS).stat().st_size
    ranges = {}
    for name, _, _, offset, length in placed(made.graphs):
        assert offset % (4096 if length >= 4096 else 64) == 0, name
        assert offset + length <= size
        ranges[offset] = length
    end = 0
    for offset, length in sorted(ranges.items()):
        assert 0 <= offset - end < 4096  # nothing overlaps, and only alignment lies between
        end = offset + length
    assert end == size
    inline = [t for g in made.graphs.values() for t in g.initializer if t.data_location != TensorProto.EXTERNAL]
    assert max(len(tensor.raw_data) for tensor in inline) < 1024


@every_plan
def test_the_tied_embedding_is_stored_once(emitted, checkpoint, scheme, fuse, provider):
    """Lookup and logits name the same bytes, and no other tensor is nearly as large."""
    made = emitted(scheme, fuse=fuse, provider=provider)
    dims = checkpoint.dims
    width = {"fp32": 4, "fp16": 2, "int8": 1, "int4": 0.5}[SCHEMES[scheme].storage]
    size = int(dims.n_vocab * dims.d_model * width)
    tables = [(name, offset) for name, _, _, offset, length in placed(made.graphs) if length == size]
    assert len(tables) == 2
    assert len({offset for _, offset in tables}) == 1
    assert all(name.startswith("decoder.embed_tokens.") for name, _ in tables)

    rest = {(o, n) for name, _, _, o, n in placed(made.graphs) if name.startswith("decoder.embed_tokens.")}
    beside = sum(length for _, length in rest) - size  # scales and zero points
    groups = dims.n_vocab * dims.d_model // (SCHEMES[scheme].group_size or dims.d_model)
    most_a_group = 4 + 4 + 1 if fuse else 4 + 4 + 1 + 2  # both scales, the lookup's and the kernel's zero points
    assert beside <= groups * most_a_group
    assert (beside == 0) == (scheme in ("fp32", "fp16"))


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_shorter_type_makes_a_smaller_file(emitted, checkpoint, scheme):
    parameters = checkpoint.n_parameters
    made = emitted(scheme)
    size = (made.folder / WEIGHTS).stat().st_size - 4096 * 40  # pages
    bits = {"fp32": 32, "fp16": 16, "int8_dynamic": 8, "int8": 9, "int8_asymmetric": 8.75, "int4": 5}.get(scheme, 6.5)
    log_mel = 4 * (201 * 80 + 2 * 200 * 201)
    kept = 0 if scheme in ("fp32", "fp16") else 4 * 128 * (80 * 3 + 128 * 3 + 50 + 24)  # convolutions, positions
    assert size <= log_mel + kept + (parameters - kept // 4) * bits / 8


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("fuse", [True, False])
def test_the_ledger_has_every_module_once_in_graph_order(emitted, checkpoint, scheme, fuse):
    rows = emitted(scheme, fuse=fuse).emission.modules
    expected = [m.path for m in modules(checkpoint.dims) if m.kind != "attention"]
    assert Counter(row.path for row in rows) == Counter(expected)
    assert sum(row.parameters for row in rows) == checkpoint.n_parameters
    graphs = emitted(scheme, fuse=fuse).graphs
    nodes = {node.name: node.op_type for graph in graphs.values() for node in graph.node}
    tensors = {tensor.name for graph in graphs.values() for tensor in graph.initializer}
    for row in rows:
        assert row.weight in tensors
        assert nodes[row.node] == row.kernel.rpartition("+")[2]
        if row.kind in ("linear", "embedding"):
            assert row.storage == SCHEMES[scheme].storage
            in_int8 = scheme == "int8_dynamic" or row.kernel == "MatMulNBits"
            assert row.compute == ("int8" if in_int8 else "fp32")


@pytest.mark.parametrize("scheme", ["fp32", "fp16", "int8_dynamic", "int8", "int4"])
def test_the_ledgers_bytes_are_those_on_disk(emitted, scheme):
    """All modules together: what the manifest calls weight bytes is what the encoder and decoder hold on disk."""
    made = emitted(scheme)
    del made.graphs["log_mel"]
    external = sum({offset: length for *_, offset, length in placed(made.graphs)}.values())
    inline = sum(
        len(t.raw_data)
        for g in made.graphs.values()
        for t in g.initializer
        if t.data_location != TensorProto.EXTERNAL and not t.name.startswith("const.")
    )
    counted = sum(row.bytes for row in made.emission.modules)
    assert counted == pytest.approx(external + inline, rel=0.02)


def test_configs_are_what_transformers_reads(emitted, checkpoint):
    from transformers import GenerationConfig, WhisperConfig, WhisperFeatureExtractor

    folder = emitted("int8_dynamic").folder
    config = WhisperConfig.from_pretrained(folder)
    assert (config.d_model, config.encoder_layers, config.decoder_layers) == (128, 2, 1)
    assert (config.vocab_size, config.max_source_positions, config.num_mel_bins) == (2000, 50, 80)
    generation = GenerationConfig.from_pretrained(folder)
    assert generation.suppress_tokens == list(checkpoint.decoding.suppress)
    assert generation.decoder_start_token_id == checkpoint.decoding.sot
    assert WhisperFeatureExtractor.from_pretrained(folder).n_samples == 16_000
    assert json.loads((folder / "tokenizer.json").read_text()) == json.loads(checkpoint.tokenizer_json)


def test_equal_bytes_are_stored_once_and_constants_are_shared(tmp_path):
    array = np.arange(4096, dtype=np.float32)
    with WeightFile(tmp_path / "weights.bin") as weights:
        graph = Graph("g", weights)
        graph.tensor("a", array)
        graph.tensor("b", array.reshape(64, 64))
        graph.tensor("c", array + 1)
        assert graph.const([1, 2]) == graph.const((1, 2))
        assert graph.const(1) != graph.const([1])
        assert graph.const(1.0, FLOAT) != graph.const(1)
        value = graph.input("x", FLOAT, [1])
        assert graph.cast(value, FLOAT) == value
        assert graph.cast(value, FLOAT16) == graph.cast(value, FLOAT16)
        assert [node.op_type for node in graph.model().graph.node] == ["Cast"]
    assert (tmp_path / "weights.bin").stat().st_size == 2 * array.nbytes


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("fuse", [True, False])
def test_queries_that_nobody_fetches_cost_no_node(tmp_path, scheme, fuse):
    checkpoint = small_checkpoint(3, decoder_layers=3)
    found = {}
    for heads in ((), ((1, 0), (1, 1), (2, 0))):
        made = with_decoding(checkpoint, alignment_heads=heads)
        folder = tmp_path / str(len(heads))
        folder.mkdir()
        emission = emit(made, uniform_plan(made.dims, SCHEMES[scheme], fuse=fuse), folder)
        graph = onnx.load(folder / GRAPHS["decoder"], load_external_data=False).graph
        nodes = [(node.name, node.op_type) for node in graph.node]
        found[bool(heads)] = nodes, emission.modules, (folder / WEIGHTS).read_bytes()
    assert found[False] == found[True]
    queries = {value.name for value in graph.output if value.name.startswith("cross_query.")}
    assert queries == {"cross_query.1", "cross_query.2"}
