"""Hostile checkpoints, each a function: (an empty folder, an innocent Hugging Face folder, what code would touch) -> path.

All are to be refused with exit code 5.
"""

from __future__ import annotations

import io
import json
import os
import pickle
import shutil
import struct
import tarfile
import zipfile

import numpy as np
from ct2_file import ct2_bytes
from pickles import (
    archive,
    call,
    content,
    group,
    laughs,
    mapping,
    named,
    number,
    one,
    patched,
    storage,
    tensor,
    text,
)

FILES = {}


def attack(function):
    """List a function."""
    FILES[function.__name__.replace("_", " ")] = function
    return function


def pt(name, pickled, **records):
    """List an archive; the pickle may be a function of what code would touch."""

    def make(folder, _, trap):
        return archive(folder / "model.pt", pickled(trap) if callable(pickled) else pickled, **records)

    FILES[name] = make


# --- pickles that call ------------------------------------------------------------------------------------------------

for module, name in (("posix", "system"), ("os", "system"), ("subprocess", "call"), ("nt", "system")):
    pt(f"pickle: {module}.{name}", lambda trap, m=module, n=name: one(call(named(m, n), text(f"touch '{trap}'"))))
for module, name in (("builtins", "eval"), ("builtins", "exec"), ("__builtin__", "eval"), ("runpy", "_run_code")):
    pt(f"pickle: {module}.{name}", lambda trap, m=module, n=name: one(call(named(m, n), text(f"open({trap!r}, 'w')"))))
pt(
    "pickle: pathlib",
    lambda trap: one(call(named("pathlib", "Path.touch"), call(named("pathlib", "Path"), text(trap)))),
)
pt("pickle: torch.load", lambda trap: call(named("torch", "load"), text(trap)))
pt("pickle: torch.hub.load", lambda trap: one(call(named("torch.hub", "load"), text(trap), text("x"))))
pt("pickle: torch's own allow-list", one(call(named("torch.serialization", "add_safe_globals"), b"]")))
pt("pickle: a hook of torch.load", one(call(named("torch.serialization", "register_package"), number(1))))
pt("pickle: numpy", lambda trap: one(call(named("numpy", "save"), text(trap), number(1))))
pt("pickle: allowed function, other arguments", one(call(named("torch._utils", "_rebuild_tensor_v2"), text("x"))))
pt("pickle: allowed class, made of a call", one(call(named("collections", "OrderedDict"), named("os", "system"))))
pt("pickle: attributes that hide methods", content(mapping({"a": tensor()}) + mapping({"items": b"N"}) + b"b"))
pt("pickle: state for __setstate__", lambda trap: one(named("pathlib", "Path") + b")\x81" + text(trap) + b"b"))
pt("pickle: function of the stack", lambda trap: text("os") + text("system") + b"\x93" + group(text(trap)) + b"R")
pt("pickle: INST", lambda trap: b"(" + text(f"touch '{trap}'") + b"ios\nsystem\n")
pt("pickle: OBJ", lambda trap: b"(" + named("os", "system") + text(trap) + b"o")
pt("pickle: registered extension", b"\x82\x01")
pt("pickle: a name with a line end in it", lambda trap: one(call(b"cos\nsystem\r\n", text(f"touch '{trap}'"))))


class Executes:
    def __init__(self, trap):
        self.trap = trap

    def __reduce__(self):
        return os.mkdir, (self.trap,)


@attack
def a_bare_pickle(folder, _, trap):
    (folder / "model.pt").write_bytes(pickle.dumps(Executes(trap)))
    return folder / "model.pt"


@attack
def a_pickle_of_weights_in_a_hugging_face_folder(folder, hf, trap):
    shutil.copytree(hf, folder / "hf")
    (folder / "hf" / "model.safetensors").unlink()
    archive(folder / "hf" / "pytorch_model.bin", mapping({"a": call(named("os", "mkdir"), text(trap))}))
    return folder / "hf"


@attack
def a_pickle_inside_a_pickle(folder, _, trap):
    inner = b"\x80\x02" + call(named("os", "mkdir"), text(trap)) + b"."
    latin = text(inner.decode("latin-1"))
    return archive(folder / "model.pt", one(call(named("pickle", "loads"), latin)))


@attack
def the_format_of_torch_before_1_6(folder, _, trap):
    parts = [pickle.dumps(value, 2) for value in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True})]
    (folder / "model.pt").write_bytes(b"".join([*parts, pickle.dumps(Executes(trap), 2), pickle.dumps([], 2)]))
    return folder / "model.pt"


@attack
def the_tar_format_of_torch_0_1(folder, _, trap):
    with tarfile.open(folder / "model.pt", "w") as tar:
        for name in ("storages", "tensors", "pickle", "../outside"):
            data = pickle.dumps(Executes(trap), 2)
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    return folder / "model.pt"


# --- pickles that grow ------------------------------------------------------------------------------------------------


def _twice_tuple(level):
    return b"r" + level + b"j" + level + b"\x86"


def _twice_list(level):
    return b"r" + level + b"0](j" + level + b"j" + level + b"e"


pt("pickle: a place in the memo far out", b"}r" + struct.pack("<I", 2**32 - 1))
pt("pickle: tuples of tuples as a key", mapping({laughs(80, b")", _twice_tuple): number(1)}))
for size in ("n_mels", "n_audio_state"):
    pt(f"pickle: tuples of tuples as {size}", content(b"}", **{size: laughs(80, b")", _twice_tuple)}))
    pt(f"pickle: lists of lists as {size}", content(b"}", **{size: laughs(80, b"]", _twice_list)}))
pt("pickle: deep tuples as a key", mapping({b")" + b"\x85" * 100_000: number(1)}))
pt("pickle: deep tuples as a tensor", one(b")" + b"\x85" * 100_000))
pt("pickle: half a million lists", b"](" + b"]" * 500_000 + b"e")
pt("pickle: text of 4 GB", b"X\xff\xff\xff\xff")
pt("pickle: bytes of 2^62", b"\x8e" + struct.pack("<Q", 2**62))
pt("pickle: a frame of 2^63", b"\x95" + struct.pack("<Q", 2**63))
pt("pickle: a number of 2^31 bytes", b"\x8b" + struct.pack("<I", 2**31 - 1))
pt("pickle: more taken than was put", b"}ssss")
pt("pickle: no end", b"}" * 9 + b"\x80")
pt("pickle: 5 MB", one(text("x" * 5_000_000)))
pt("pickle: a size of 2,000 bits", content(b"}", n_mels=number(2**2000)))

# --- storages ---------------------------------------------------------------------------------------------------------

pt("storage: larger than its record", one(tensor(of=storage(numel=2**40))))
pt("storage: smaller than its record", one(tensor(of=storage(numel=3), shape=(3,))))
pt("storage: without a record", one(tensor(of=storage(key="7"))))
pt("storage: of the pickle itself", one(tensor(of=storage(key="../data.pkl"))))
pt("storage: of 2^63 numbers", one(tensor(of=storage(numel=2**63), shape=(2**62,))))
pt("storage: of less than none", one(tensor(of=storage(numel=-4))))
pt("storage: of unknown numbers", one(tensor(of=storage(kind="QUInt8Storage"))))
pt("storage: no storage", one(tensor(of=text("storage"))))
pt("tensor: beyond its storage", one(tensor(start=1)))
pt("tensor: before its storage", one(tensor(start=-1)))
pt("tensor: a shape of 2^63", one(tensor(shape=(2**63,), strides=(0,))))
pt("tensor: a shape less than none", one(tensor(shape=(-4,))))
pt("tensor: a shape of 2^62 by 2^62", one(tensor(shape=(2**62, 2**62), strides=(0, 0))))
pt("tensor: a stride less than none", one(tensor(strides=(-1,))))
pt("tensor: a stride of 2^62", one(tensor(strides=(2**62,))))
pt("tensor: four numbers that claim to be 2^40", one(tensor(shape=(2**40,), strides=(0,))))
pt("tensor: of rank 100,000", one(tensor(shape=(1,) * 100_000, strides=(0,) * 100_000)))
pt("tensor: negated", one(tensor(more=(mapping({"neg": b"\x88"}),))))
pt("big-endian", one(tensor()), records=(("data/0", bytes(8)), ("byteorder", b"big")))

# --- zips -------------------------------------------------------------------------------------------------------------

pt("zip: bomb", one(tensor()), records=(("data/0", bytes(50_000_000)),), compression=zipfile.ZIP_DEFLATED)
pt("zip: a name that leads elsewhere", one(tensor()), records=(("../../data/0", bytes(8)),))
pt("zip: a name with backslashes", one(tensor()), records=(("..\\data\\0", bytes(8)),))
pt("zip: a name with control characters", one(tensor()), records=(("data/\x1b[2J0", bytes(8)),))
pt("zip: 9,000 records", one(tensor()), records=[(f"data/{i:0100}", b"") for i in range(9_000)])


@attack
def zip_two_pickles_of_one_name(folder, _, trap):
    evil = b"\x80\x02" + call(named("os", "mkdir"), text(trap)) + b"."
    archive(folder / "model.pt", one(tensor()), records=[("data.pkX", evil), ("data/0", bytes(8))])
    return patched(folder / "model.pt", b"archive/data.pkX", b"archive/data.pkl", 2)


def _zip(name, old, new, count=1):
    """List an innocent archive of which some bytes are changed."""

    def make(folder, _, __):
        return patched(archive(folder / "model.pt", one(tensor())), old, new, count)

    FILES[name] = make


_zip("zip: another name at the record", b"archive/data/0", b"archive/data/9")
_zip("zip: an absolute name", b"archive/data/0", b"/archive/dat/0", 2)
_zip("zip: two folders", b"archive/data/0", b"another/data/0", 2)


@attack
def zip_records_that_overlap(folder, _, __):
    path = archive(folder / "model.pt", one(tensor()), records=(("data/0", bytes(8)), ("data/1", bytes(8))))
    data = bytearray(path.read_bytes())
    first = data.index(b"PK\1\2", data.index(b"PK\1\2") + 1)
    second = data.index(b"PK\1\2", first + 1)
    data[first + 20 : first + 28] = struct.pack("<2L", 60, 60)  # its sizes, now into the next record
    assert second
    path.write_bytes(data)
    return path


def _end(name, at, format_, value):
    """List an archive whose last 22 bytes, which say where its directory is, lie."""

    def make(folder, _, __):
        path = archive(folder / "model.pt", one(tensor()))
        data = bytearray(path.read_bytes())
        struct.pack_into(format_, data, len(data) - 22 + at, value)
        path.write_bytes(data)
        return path

    FILES[name] = make


_end("zip: a directory of 4 GB", 12, "<L", 2**32 - 2)
_end("zip: a directory behind the end", 16, "<L", 2**32 - 2)
_end("zip: a directory that is none", 16, "<L", 0)
_end("zip: a note behind the end", 20, "<H", 9)


@attack
def zip_cut_off(folder, _, __):
    path = archive(folder / "model.pt", one(tensor()))
    path.write_bytes(path.read_bytes()[:-30])
    return path


@attack
def zip_with_64_bits_that_claim_exabytes(folder, _, __):
    path = archive(folder / "model.pt", one(tensor()))
    data = path.read_bytes()
    at = len(data) - 22
    end = struct.pack("<4sQ2H2L4Q", b"PK\6\6", 44, 45, 45, 0, 0, 2, 2, 2**62, 2**63)
    where = struct.pack("<4sLQL", b"PK\6\7", 0, at, 1)
    path.write_bytes(data[:at] + end + where + data[at:])
    return path


# --- safetensors ------------------------------------------------------------------------------------------------------


def hf(name, change):
    """List a Hugging Face folder that a function has changed."""

    def make(folder, innocent, _):
        shutil.copytree(innocent, folder / "hf")
        change(folder / "hf")
        return folder / "hf"

    FILES[name] = make


def head(name, header, body=b"\0\0", length=None):
    """List a safetensors file with this header."""

    def change(folder):
        raw = header if isinstance(header, bytes) else json.dumps(header).encode()
        claimed = len(raw) if length is None else length
        (folder / "model.safetensors").write_bytes(struct.pack("<Q", claimed) + raw + body)

    hf(f"safetensors: {name}", change)


def entry(start=0, stop=2, shape=(1,), dtype="F16"):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [start, stop]}


head("a header of 2^63 bytes", b"{}", length=2**63)
head("a header of 2^64 - 1 bytes", b"{}", length=2**64 - 1)
head("a header of 100 MB", b'{"a":' + b" " * 10_000_000 + b"1}")
head("a header of 2 MB of lists", b'{"a":[' + b"[]," * 660_000 + b"[]]}")
head("a header of 8 MB of lists", b'{"a":[' + b"[]," * 2_600_000 + b"[]]}")
head("a header of deep lists", b'{"a":' + b"[" * 500_000 + b"]" * 500_000 + b"}")
head("arrays that overlap", {"a": entry(), "b": entry()})
head("arrays that overlap by a byte", {"a": entry(), "b": entry(1, 3)}, b"\0\0\0")
head("bytes behind the end", {"a": entry(0, 2**40, (2**39,))})
head("bytes of 2^63", {"a": entry(0, 2**63, (2**62,))})
head("bytes before the start", {"a": entry(-2, 0)})
head("a key twice", b'{"a":{"dtype":"F16","shape":[1],"data_offsets":[0,2]},"a":' + json.dumps(entry()).encode() + b"}")
head("an unknown type", {"model.encoder.conv1.weight": entry(dtype="F6_E3M2")})
head("a shape of 2^62 by 2^62 by 0", {"a": entry(0, 0, (2**62, 2**62, 0))}, b"")
head("NUL in a name", {"model.\0encoder": entry()})


def weights(name, change):
    """List a folder whose tensors a function has changed."""

    def changed(folder):
        from safetensors.numpy import load_file, save_file

        tensors = load_file(folder / "model.safetensors")
        change(tensors)
        save_file(tensors, folder / "model.safetensors")

    hf(f"weights: {name}", changed)


SOME = "model.encoder.layers.0.fc1.weight"
weights("NaN", lambda tensors: tensors[SOME].__setitem__((0, 0), np.nan))
weights("infinite", lambda tensors: tensors[SOME].__setitem__((0, 0), -np.inf))
weights("turned", lambda tensors: tensors.update({SOME: tensors[SOME].T.copy()}))
weights("one missing", lambda tensors: tensors.pop(SOME))
weights("whole numbers", lambda tensors: tensors.update({SOME: tensors[SOME].astype(np.int64)}))

# --- configurations ---------------------------------------------------------------------------------------------------


def config(name, *, file="config.json", raw=None, **changes):
    """List a folder with other settings."""

    def change(folder):
        path = folder / file
        found = json.dumps({**json.loads(path.read_text()), **changes}).encode() if raw is None else raw
        path.write_bytes(found)

    hf(f"{file}: {name}", change)


config("a size of 2^63", d_model=2**63)
config("a size of 4,000 digits", d_model=10**4000)
config("text for a size", vocab_size="320")
config("a list for a size", vocab_size=[[[]]])
config("not a number", num_mel_bins=float("nan"))
config("infinite", encoder_layers=float("inf"))
config("true for a size", decoder_layers=True)
config("a billion layers", decoder_layers=10**9)
config("a key twice", raw=b'{"model_type":"whisper","model_type":"whisper"}')
config("a number of 5,000 digits", raw=b'{"model_type": ' + b"9" * 5000 + b"}")
config("lists as deep as Python goes", raw=b'{"model_type":' + b"[" * 900 + b"]" * 900 + b"}")
config("deep lists", raw=b'{"model_type":' + b"[" * 200_000)
config("6 MB of objects", raw=b'{"model_type":[' + b'{"a":1},' * 740_000 + b"{}]}")
config("6 MB of lists", raw=b'{"model_type":[' + (b"[" * 100 + b"]" * 100 + b",") * 29_000 + b"[]]}")
config("6 MB of texts", raw=b'{"model_type":[' + b'"ab",' * 1_190_000 + b'""]}')
config("6 MB of keys", raw=b"{" + b"".join(b'"%05x":1,' % i for i in range(590_000)) + b'"a":1}')
config("6 MB of lists", file="tokenizer.json", raw=b'{"model":[' + (b"[" * 100 + b"]" * 100 + b",") * 29_000 + b"[]]}")
config("6 MB of texts", file="tokenizer.json", raw=b'{"model":[' + b'"ab",' * 1_190_000 + b'""]}')
config("100 MB", raw=b'{"a": "' + b" " * 20_000_000 + b'"}')
config("a suppressed token of 2^70", file="generation_config.json", suppress_tokens=[2**70])
config("heads that are no pairs", file="generation_config.json", alignment_heads=[[0, 1, 2]])
config("text for tokens", file="generation_config.json", begin_suppress_tokens="all")
config("no vocabulary", file="tokenizer.json", raw=b'{"added_tokens": [], "model": {}}')
config("a vocabulary that is a list", file="tokenizer.json", raw=b'{"added_tokens": [], "model": {"vocab": [1]}}')
config("tokens of text", file="tokenizer.json", added_tokens=[{"content": "<|startoftranscript|>", "id": "257"}])
config(
    "tokens beyond the model", file="tokenizer.json", added_tokens=[{"content": "<|startoftranscript|>", "id": 10**9}]
)
config("deep lists", file="tokenizer.json", raw=b"[" * 200_000)


def replaced(name, file, make):
    """List a folder in which a file is something else."""

    def change(folder):
        (folder / file).unlink()
        make(folder / file)

    hf(f"{file}: {name}", change)


for file in ("config.json", "generation_config.json", "tokenizer.json"):
    # Where there is no file, the two later ones are not asked for.
    if file != "generation_config.json":
        replaced("a pipe that nobody writes to", file, os.mkfifo)
        replaced("a device without end", file, lambda path: path.symlink_to("/dev/zero"))


def index(name, shard):
    """List a folder whose index of shards names this."""

    def change(folder):
        shutil.copyfile(folder / "model.safetensors", folder.parent / "outside.safetensors")
        (folder / "loop.safetensors").symlink_to("loop.safetensors")
        (folder / "model.safetensors").unlink()
        names = shard(folder) if callable(shard) else {"a": shard}
        (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": names}))

    hf(f"index: {name}", change)


index("a shard above", "../outside.safetensors")
index("a shard at an absolute path", lambda folder: {"a": str(folder.parent / "outside.safetensors")})
index("a shard that is a loop of links", "loop.safetensors")
index("NUL in a name", "model\0.safetensors")
index("a name of 5,000 characters", "x" * 5000 + ".safetensors")
index("itself", "model.safetensors.index.json")
index("a name that is a list", ["model.safetensors"])
index("10,000 shards", lambda _: {str(i): f"{i}.safetensors" for i in range(10_000)})

# --- CTranslate2 ------------------------------------------------------------------------------------------------------

HALF = 4
NAME = "encoder/conv1/weight"
START = struct.pack("<IH", 6, 12) + b"WhisperSpec\0"


def ct2(name, raw):
    def make(folder, innocent, _):
        shutil.copytree(innocent, folder / "ct2", ignore=shutil.ignore_patterns("*.safetensors"))
        (folder / "ct2" / "model.bin").write_bytes(raw)
        return folder / "ct2"

    FILES[f"CTranslate2: {name}"] = make


ct2("four billion variables", START + struct.pack("<II", 3, 2**32 - 1))
ct2("100,000 variables that are not there", START + struct.pack("<II", 3, 100_000))
ct2("a name longer than the file", START + struct.pack("<IIH", 3, 1, 2**16 - 1) + b"x")
ct2("rank 255", ct2_bytes({NAME: ((1,) * 255, HALF, b"\0\0")}))
ct2("type 255", ct2_bytes({NAME: ((1,), 255, b"\0\0")}))
ct2("a shape that wraps around to nothing", ct2_bytes({NAME: ((2**31, 2), HALF, b"")}))
ct2("a shape of 2^256", ct2_bytes({NAME: ((2**32 - 1,) * 8, HALF, b"\0\0")}))
ct2(
    "a variable longer than the file",
    ct2_bytes({NAME: ((2**31 - 1,), 1, b"")}).replace(bytes(4), b"\xff\xff\xff\x7f", 1),
)
ct2("an alias of nothing", ct2_bytes({NAME: ((1,), HALF, b"\0\0")}, aliases=(("a", "b"),)))
ct2("an alias of itself", ct2_bytes({NAME: ((1,), HALF, b"\0\0")}, aliases=((NAME, NAME),)))
ct2("control characters in a name", ct2_bytes({"encoder/\x1b[2J": ((1,), HALF, b"\0\0")}))
ct2("a layer of number 10^9", ct2_bytes({"encoder/layer_1000000000/ffn/linear_0/weight": ((1,), HALF, b"\0\0")}))
ct2("nothing", b"")
