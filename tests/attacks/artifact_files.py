"""Hostile artifacts, each a function that spoils the folder of an innocent one. All are to be refused with exit code 5."""

from __future__ import annotations

import json
import os
import struct

import onnx
from onnx import TensorProto, helper

FILES = {}
ENCODER, DECODER, LOG_MEL = "encoder", "decoder", "log_mel"
MODEL_GRAPH, GRAPH_INITIALIZER, EXTERNAL_DATA = 7, 5, 13


def raw(name, make, graph=ENCODER):
    """List an artifact of which a graph is other bytes: a function of what they were."""

    def spoil(folder):
        path = folder / "onnx" / f"{graph}.onnx"
        path.write_bytes(make(path.read_bytes()))

    FILES[name] = spoil


def changed(name, change, graph=ENCODER):
    """List an artifact of which a function changes a graph."""

    def make(data):
        model = onnx.ModelProto.FromString(data)
        change(model)
        return model.SerializeToString()

    raw(name, make, graph)


def outside(model):
    """The first tensor that lies in the weight file."""
    return next(one for one in model.graph.initializer if one.external_data)


def place(name, **entries):
    """List an artifact with a tensor elsewhere."""

    def change(model):
        left = dict(entries)
        for entry in outside(model).external_data:
            entry.value = str(left.pop(entry.key, entry.value))
        for key, value in left.items():
            outside(model).external_data.add(key=key, value=str(value))

    changed(f"external data: {name}", change)


def folder(name, spoil):
    FILES[name] = spoil


def weights(name, make):
    """List an artifact whose weight file is something else; the function is given where it belongs, and where it is."""

    def spoil(folder):
        path = folder / "onnx" / "weights.bin"
        path.rename(folder.parent / "elsewhere.bin")
        make(path, folder.parent / "elsewhere.bin")

    FILES[f"weights: {name}"] = spoil


# --- where tensors lie ------------------------------------------------------------------------------------------------

place("in a folder above", location="../weights.bin")
place("above by way of itself", location="onnx/../../onnx/weights.bin")
place("at an absolute path", location="/etc/passwd")
place("in a folder below", location="below/weights.bin")
place("at the memory of ONNX Runtime", location="*/_ORT_MEM_ADDR_/*", offset=4096)
place("in a file of no name", location="")
place("in the folder itself", location=".")
place("in a name with NUL", location="weights\0.bin")
place("in a name with a backslash", location="..\\weights.bin")
place("in a name of a drive", location="C:weights.bin")
place("in a name of 5,000 letters", location="w" * 5000)
place("in a file that is not there", location="missing.bin")
place("in its own graph", location="encoder.onnx", offset=2**40)
place("before the file", offset=-1)
place("behind the file", offset=2**40)
place("at 2^63", offset=2**63)
place("at 2^64", offset=2**64)
place("nowhere in numbers", offset="0x10")
place("of no length", length="")
place("of less than nothing", length=-4)
place("of 2^63 bytes", length=2**63)
place("of a byte less than its shape", length=1)
place("with a checksum of its own", checksum="0" * 40)
weights("a link", lambda path, elsewhere: path.symlink_to(elsewhere))
weights("a hard link", lambda path, elsewhere: os.link(elsewhere, path))
weights("a loop of links", lambda path, _: path.symlink_to(path.name))
weights("a pipe", lambda path, _: os.mkfifo(path))
weights("a device without end", lambda path, _: path.symlink_to("/dev/zero"))
weights("a folder", lambda path, _: path.mkdir())
weights("cut off", lambda path, elsewhere: path.write_bytes(elsewhere.read_bytes()[:-1]))


@lambda change: changed("external data: two locations", change)
def _(model):
    outside(model).external_data.add(key="location", value="/etc/passwd")


@lambda change: changed("external data: and bytes inside", change)
def _(model):
    outside(model).raw_data = b"\0" * 4


@lambda change: changed("external data: in an attribute", change)
def _(model):
    tensor = TensorProto(name="t", data_type=TensorProto.FLOAT, dims=[4], data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value="/etc/passwd")
    model.graph.node.insert(0, helper.make_node("Constant", [], ["spy"], name="spy", value=tensor))


# --- tensors ----------------------------------------------------------------------------------------------------------


def tensor(name, **fields):
    """List an artifact with one tensor more."""

    def change(model):
        model.graph.initializer.append(TensorProto(**{"name": "spy", "data_type": 1, "dims": [1], **fields}))

    changed(f"tensor: {name}", change)


tensor("a terabyte in four bytes", dims=[2**38], raw_data=b"\0" * 4)
tensor("more than can be counted", dims=[2**62, 2**62], raw_data=b"\0" * 4)
tensor("a shape less than nothing", dims=[-1], raw_data=b"\0" * 4)
tensor("without its bytes", dims=[2**38])
tensor("an unknown type", data_type=99, raw_data=b"\0" * 4)
tensor("text", data_type=TensorProto.STRING, string_data=[b"x"])
tensor("values one by one", float_data=[1.0])
tensor("outside, but nowhere", data_location=TensorProto.EXTERNAL)
tensor("in segments", segment=TensorProto.Segment(begin=0, end=2**62), raw_data=b"\0" * 4)


@lambda change: changed("tensor: sparse", change)
def _(model):
    values, places = (TensorProto(name=name, data_type=7, dims=[1], raw_data=bytes(8)) for name in ("values", "places"))
    model.graph.sparse_initializer.append(onnx.SparseTensorProto(values=values, indices=places, dims=[2**40]))


# --- code -------------------------------------------------------------------------------------------------------------


def node(name, operator, **options):
    """List an artifact with one node more."""
    changed(
        f"node: {name}",
        lambda model: model.graph.node.insert(0, helper.make_node(operator, ["mel"], ["spy"], name="spy", **options)),
    )


BODY = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "body", [], [])
node("an operator of others", "Steal", domain="evil.example")
node("an operator that reads files", "EPContext", domain="com.microsoft", ep_cache_context="../../etc/passwd")
node("a loop", "Loop", body=BODY)
node("a branch", "If", then_branch=BODY, else_branch=BODY)
node("an operator that we do not write", "NonZero")
node("an operator that makes as much as it likes", "ConstantOfShape")
node("a subgraph in one of ours", "Identity", body=BODY)
node("subgraphs in one of ours", "Identity", bodies=[BODY])


@lambda change: changed("functions that call each other for ever", change)
def _(model):
    imports = [helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)]
    for own, other in (("A", "B"), ("B", "A")):
        call = helper.make_node(other, ["x"], ["y"], domain="com.microsoft")
        model.functions.append(helper.make_function("com.microsoft", own, ["x"], ["y"], [call], imports))


changed("operators of others", lambda model: model.opset_import.append(helper.make_opsetid("evil.example", 1)))
changed("training", lambda model: model.training_info.add())
changed("nodes in a circle", lambda model: model.graph.node[0].input.__setitem__(0, model.graph.node[-1].output[0]))
changed("no nodes", lambda model: model.graph.ClearField("node"))

# --- files that are no graph ------------------------------------------------------------------------------------------


def field(number, data):
    """One field of a message, as bytes."""
    size, found = len(data), b""
    while size >= 128:
        found, size = found + bytes([size & 127 | 128]), size >> 7
    return bytes([number << 3 | 2]) + found + bytes([size]) + data


def nested(depth):
    data = b""
    for _ in range(depth):
        data = field(MODEL_GRAPH, data)[:1] + struct.pack("<B", 0) + data if len(data) > 100_000 else field(7, data)
    return data


raw("no graph: nothing", lambda _: b"")
raw("no graph: noise", lambda data: bytes(byte ^ 0x5A for byte in data))
raw("no graph: a picture", lambda _: b"\x89PNG\r\n\x1a\n" + bytes(100))
raw("no graph: messages in messages", lambda _: nested(2_000))
raw("no graph: a field of 2^63 bytes", lambda _: b"\x3a" + b"\xff" * 8 + b"\x7f")
raw("no graph: a number without end", lambda _: b"\x08" + b"\xff" * 100)
raw("no graph: groups", lambda _: b"\x3b" * 10_000)
raw("no graph: cut off", lambda data: data[:-1])
raw("no graph: two graphs, which readers merge", lambda data: data + data)
raw("no graph: an unknown field", lambda data: data + field(15, b"x"))
raw("no graph: text that is none", lambda data: data + field(8, field(1, b"\xff")))


@lambda spoil: folder("no graph: 65 MB of nothing", spoil)
def _(folder):
    with (folder / "onnx" / "encoder.onnx").open("r+b") as file:
        file.truncate(65_000_000)


# --- graphs that do not give what they must ---------------------------------------------------------------------------


def port(name, graph, kind, which, change):
    """List an artifact with another input or output."""

    def changes(model):
        change(next(one for one in getattr(model.graph, kind) if one.name == which))

    changed(f"graph: {name}", changes, graph)


def typed(elem):
    return lambda value: setattr(value.type.tensor_type, "elem_type", elem)


def sized(dim, size):
    def change(value):
        found = value.type.tensor_type.shape.dim[dim]
        found.Clear()
        if size is not None:
            found.dim_value = size

    return change


def flat(value):
    del value.type.tensor_type.shape.dim[1:]


changed("graph: no logits", lambda model: model.graph.output.pop(), DECODER)
changed("graph: no hidden state", lambda model: model.graph.output.__delitem__(0))
changed("graph: no spectrogram", lambda model: model.graph.ClearField("output"), LOG_MEL)
port("logits of another type", DECODER, "output", "logits", typed(TensorProto.FLOAT16))
port("a cache of 2^40 places", DECODER, "input", "past_key.0", sized(2, 2**40))
port("a cache of any length", DECODER, "input", "past_key.0", sized(2, None))
port("a cache without places", DECODER, "input", "past_key.0", flat)
port("a cache of whole numbers", DECODER, "input", "past_value.0", typed(TensorProto.INT64))
port("tokens of another type", DECODER, "input", "input_ids", typed(TensorProto.FLOAT))
port("a spectrogram of 2^40 frames", LOG_MEL, "output", "mel", sized(2, 2**40))
port("a spectrogram of any length", LOG_MEL, "output", "mel", sized(2, None))
port("a spectrogram without bands", LOG_MEL, "output", "mel", flat)
port("a spectrogram of other bands than it says", LOG_MEL, "output", "mel", sized(1, 128))
port("an encoder for other bands", ENCODER, "input", "mel", sized(1, 128))
changed(
    "graph: an input that nobody gives",
    lambda model: model.graph.input.append(helper.make_tensor_value_info("spy", 1, [1])),
    DECODER,
)
changed("graph: no cache", lambda model: model.graph.input.__delitem__(2), DECODER)

# --- manifests and tokenizers -----------------------------------------------------------------------------------------


def manifest(name, change):
    """List an artifact whose manifest a function changes."""

    def spoil(folder):
        path = folder / "manifest.json"
        found = json.loads(path.read_text())
        change(found)
        path.write_text(json.dumps(found))

    FILES[f"manifest: {name}"] = spoil


manifest("a graph above", lambda found: found["graphs"].update(encoder="../elsewhere.onnx"))
manifest("a graph at an absolute path", lambda found: found["graphs"].update(encoder="/etc/passwd"))
manifest("a graph of a name with NUL", lambda found: found["graphs"].update(encoder="onnx/\0"))
manifest("a graph of a name too long", lambda found: found["graphs"].update(encoder="x" * 5000))
manifest("a graph that is another", lambda found: found["graphs"].update(encoder="onnx/log_mel.onnx"))
manifest("a graph that is the weights", lambda found: found["graphs"].update(encoder="onnx/weights.bin"))
manifest("token ids beyond the vocabulary", lambda found: found["decoding"].update(eot=10**9))
manifest("a text longer than the cache", lambda found: found["decoding"].update(max_length=2**62))
manifest("a token of 2^70", lambda found: found["decoding"].update(sot=2**70))
manifest("heads of layers that are not there", lambda found: found["decoding"].update(alignment_heads=[[99, 0]]))
manifest("layers above", lambda found: found.update(layers={"weights": "../elsewhere.bin"}))
manifest("as many as fit, of a model of its own", lambda found: found.update(batch_size="auto", model={"dims": {}}))


@lambda spoil: folder("manifest: a loop of links", spoil)
def _(folder):
    (folder / "onnx" / "encoder.onnx").unlink()
    (folder / "onnx" / "encoder.onnx").symlink_to("encoder.onnx")


def tokenizer(name, make):
    """List an artifact whose tokenizer is something else."""

    def spoil(folder):
        (folder / "tokenizer.json").unlink()
        make(folder / "tokenizer.json")

    FILES[f"tokenizer: {name}"] = spoil


def words(vocabulary):
    text = json.dumps({"model": {"vocab": vocabulary}, "added_tokens": []})
    return lambda path: path.write_text(text)


tokenizer("a device without end", lambda path: path.symlink_to("/dev/zero"))
tokenizer("of somebody else", lambda path: path.symlink_to("/etc/passwd"))
tokenizer("deep lists", lambda path: path.write_text("[" * 200_000))
tokenizer("a token of 2^40", words({"a": 2**40}))
tokenizer("a token before all", words({"a": -(2**40)}))
tokenizer("tokens of text", words({"a": "b"}))
tokenizer("9 MB", lambda path: path.write_text(" " * 9_000_000))
tokenizer("6 MB of lists", lambda path: path.write_text("[" + ("[" * 100 + "]" * 100 + ",") * 29_000 + "[]]"))
