"""Device profiles: complete, plausible, found by any spelling; and files that are not."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from fastwhisper_compress.errors import UsageError
from fastwhisper_compress.memory import hardware
from fastwhisper_compress.memory.device import Device
from fastwhisper_compress.memory.hardware import device_names, devices, find_device, profile_of
from fastwhisper_compress.memory.suitability import warnings_for

DEVICES = devices()
CARDS = {name: device for name, device in DEVICES.items() if device.kind == "cuda"}

PROFILE = """\
version: 1
devices:
  - name: my-card
    title: My card
    aliases: []
    kind: cuda
    memory_bytes: 4294967296
    memory_kind: GDDR6
    unified: false
    reserved_bytes: 300000000
    bandwidth_bytes_per_s: 200e9
    peak: {fp32: 5e12, fp16: 10e12, bf16: null, int8: 20e12}
    fast_fp16: true
    compute_capability: "7.5"
    sources:
      memory_bytes: x
      reserved_bytes: x
      bandwidth_bytes_per_s: x
      fp32: x
      fp16: x
      int8: x
      compute_capability: x
    why:
      bf16: none
"""


@pytest.fixture
def write(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def _write(content, name="my.yaml"):
        data = content if isinstance(content, bytes) else content.encode()
        (tmp_path / name).write_bytes(data)
        return name

    return _write


def test_every_device_that_people_ask_about_is_there():
    wanted = {
        *("jetson-agx-xavier", "jetson-agx-orin-32", "jetson-agx-orin-64", "jetson-orin-nano-8", "gtx-1080"),
        *(
            "rtx-3060",
            "rtx-3090",
            "rtx-4090",
            "t4",
            "a10",
            "l4",
            "a100-40",
            "a100-80",
            "h100",
            "h200",
            "cpu-milan-2",
            "raspberry-pi-5-4",
        ),
    }
    assert wanted <= set(DEVICES)
    assert list(DEVICES) == device_names()


@pytest.mark.parametrize("name", DEVICES)
def test_a_profile_has_every_figure_with_its_source_and_its_file_bears_its_name(name):
    device = DEVICES[name]
    assert device.name == name
    assert device.available_bytes is None
    for figure in ("memory_bytes", "reserved_bytes", "bandwidth_bytes_per_s", "fp32"):
        assert device.figures[figure] is not None
    for figure, value in device.figures.items():
        assert (figure in device.sources) == (value is not None)
        assert (figure in device.why) == (value is None)


@pytest.mark.parametrize("name", DEVICES)
def test_figures_are_of_a_plausible_size(name):
    device = DEVICES[name]
    assert 4 * 2**30 <= device.memory_bytes <= 256 * 2**30
    assert 0.1e9 <= device.reserved_bytes <= 0.25 * device.memory_bytes
    assert 10e9 <= device.bandwidth_bytes_per_s <= 10e12
    assert 0.1e12 <= device.flops("fp32") <= 100e12
    # Between how often a byte can be read and how often it can be computed with there are one or two powers of ten.
    assert 5 <= device.flops("fp32") / device.bandwidth_bytes_per_s <= 200


@pytest.mark.parametrize("name", CARDS)
def test_rates_of_one_card_stand_in_the_relations_of_its_architecture(name):
    card = CARDS[name]
    capability = float(card.compute_capability)
    fp32, fp16, bf16, int8 = (card.flops(kind) for kind in ("fp32", "fp16", "bf16", "int8"))
    assert card.fast_fp16 == (fp16 > fp32)
    assert (bf16 is not None) == (capability >= 8.0)
    assert bf16 in (None, fp16)
    # Dense: sparse figures would be four times FP16. GeForce cards run FP16 with FP32 sums at half the rate.
    if capability >= 7:
        assert 1.9 <= int8 / fp16 <= 4.05
        assert (int8 / fp16 > 3) == name.startswith("rtx")
    assert card.memory_bytes % 2**30 == 0


def test_devices_stand_to_each_other_as_known():
    small, large = DEVICES["a100-40"], DEVICES["a100-80"]
    assert large.memory_bytes == 2 * small.memory_bytes
    assert large.bandwidth_bytes_per_s > small.bandwidth_bytes_per_s
    assert large.peak == small.peak
    assert DEVICES["h200"].peak == DEVICES["h100"].peak
    speed = [DEVICES[name].flops("fp16") for name in ("gtx-1080", "jetson-orin-nano-8", "t4", "a10", "a100-40", "h100")]
    assert speed == sorted(speed)
    assert DEVICES["gtx-1080"].fast_fp16 is False
    assert {name for name, device in CARDS.items() if device.unified} == {n for n in CARDS if n.startswith("jetson")}


def test_no_two_devices_answer_to_one_name():
    names = [hardware._squeezed(name) for device in DEVICES.values() for name in (device.name, *device.aliases)]
    assert len(names) == len(set(names))


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("t4", "t4"),
        ("T4", "t4"),
        ("Tesla T4", "t4"),
        ("NVIDIA T4", "t4"),
        ("RTX 3060", "rtx-3060"),
        ("rtx_3060", "rtx-3060"),
        ("NVIDIA GeForce RTX 4090", "rtx-4090"),
        ("NVIDIA A100-SXM4-40GB", "a100-40"),
        ("NVIDIA A100 80GB PCIe", "a100-80"),
        ("NVIDIA H100 80GB HBM3", "h100"),
        ("AGX Orin", "jetson-agx-orin-64"),
        ("1080", "gtx-1080"),
    ],
)
def test_a_device_is_found_by_any_spelling(name, found):
    assert find_device(name).name == found


@pytest.mark.parametrize("name", ["NVIDIA GeForce RTX 3060 Laptop GPU", "NVIDIA H100 PCIe", "nvidia", "", "A100X"])
def test_another_product_is_not_taken_for_one(name):
    assert profile_of(name) is None


@pytest.mark.parametrize(
    ("name", "near"),
    [("rtx-3091", "rtx-3090"), ("A101", "a10"), ("jetson-nano", "jetson-orin-nano"), ("quantum computer", None)],
)
def test_an_unknown_name_is_answered_with_the_nearest_and_all(name, near):
    with pytest.raises(UsageError) as caught:
        find_device(name, place="device")
    assert caught.value.place == "device"
    assert f"there is no device {name!r}" in caught.value.message
    assert ("did you mean" in caught.value.message) == (near is not None)
    assert near is None or f"did you mean '{near}" in caught.value.message
    assert all(known in caught.value.remedy for known in DEVICES)


def test_a_name_of_a_million_letters_is_answered_briefly():
    with pytest.raises(UsageError) as caught:
        find_device("x" * 1_000_000)
    assert len(str(caught.value)) < 1000


def test_a_file_of_ones_own_is_a_device(write):
    assert find_device(write(PROFILE)).title == "My card"


def test_a_file_of_several_needs_a_name(write):
    second = PROFILE.partition("devices:\n")[2].replace("my-card", "other-card")
    file = write(PROFILE + second)
    assert find_device(f"{file}#other-card").name == "other-card"
    for name in (file, f"{file}#third"):
        with pytest.raises(UsageError) as caught:
            find_device(name)
        assert "my.yaml#my-card, my.yaml#other-card" in caught.value.remedy


@pytest.mark.parametrize(
    ("old", "new", "place", "message"),
    [
        (
            "    bandwidth_bytes_per_s: 200e9\n",
            "",
            "3:5",
            "'bandwidth_bytes_per_s' is missing in the profile of 'my-card'",
        ),
        ("fp32: 5e12, ", "", "12:11", "'fp32' is missing"),
        ("200e9", "null", "23:5", "the figure 'bandwidth_bytes_per_s' is null, but 'why' does not say why"),
        ("fp32: 5e12", "fp32: -5e12", "12:18", "'fp32' must be above 0, not -5000000000000.0"),
        ("fp32: 5e12", "fp32: 5e12, fp8: 1e12", "12:2", "unknown key 'fp8'"),
        ("fp32: 5e12", "fp32: .inf", "12:18", "'fp32' must be a finite number"),
        ("4294967296", "4 GB", "7:19", "'memory_bytes' must be a whole number, not '4 GB'"),
        ("4294967296", "4e9", "7:19", "'memory_bytes' must be a whole number, not 4000000000.0"),
        ("4294967296", "-1", "7:19", "'memory_bytes' must be above 0, not -1"),
        ("    unified: false\n", "    unified: false\n    colour: green\n", "10:5", "unknown key 'colour'"),
        ("unified: false", "unified: no", "9:14", "'unified' must be true or false, not 'no'"),
        ("kind: cuda", "kind: tpu", "6:11", "'kind' must be 'cuda' or 'cpu', not 'tpu'"),
        ("kind: cuda", "kind: cpu", "14:25", "a device of kind cpu has no 'compute_capability'"),
        ("aliases: []", "aliases: [1080]", "5:15", "'aliases[0]' must be text, not 1080"),
        ("      fp16: x\n", "", "15:5", "the figure 'fp16' is given, but 'sources' does not say where it comes from"),
        ("    why:\n      bf16: none\n", "", "3:5", "the figure 'bf16' is null, but 'why' does not say why"),
        ("      bf16: none\n", "      bf16: none\n      int8: x\n", "25:13", "'int8' is given and stands under 'why'"),
        ("      int8: x\n", "      int8: x\n      fp8: x\n", "22:12", "'sources' speaks of 'fp8', which is no figure"),
        ("fast_fp16: true", "fast_fp16: false", "13:16", "'fast_fp16' contradicts"),
        ("fp16: 10e12", "fp16: 1e12", "13:16", "'fast_fp16' contradicts"),
        ('"7.5"', "7.5", "14:25", "'compute_capability' must be text, not 7.5"),
        ("name: my-card", "name: My Card", "3:11", "'name' is not well formed"),
        (
            "    fast_fp16: true\n",
            "    fast_fp16: true\n    available_bytes: 1\n",
            "14:5",
            "unknown key 'available_bytes'",
        ),
        ("    title: My card\n", "    title: My card\n    title: Mine\n", "5:5", "the key 'title' stands twice"),
        ("version: 1", "version: 2", "1:10", "'version' must be 1, not 2"),
        ("version: 1\n", "", "", "'version' is missing"),
        ("title: My card", "title: &card My card", "4:12", "an anchor (&name) or alias (*name) is not allowed here"),
    ],
)
def test_a_broken_profile_is_refused_at_its_place(write, old, new, place, message):
    assert old in PROFILE
    with pytest.raises(UsageError) as caught:
        find_device(write(PROFILE.replace(old, new, 1)))
    assert type(caught.value) is UsageError
    assert caught.value.place.startswith(f"my.yaml:{place}" if place else "my.yaml")
    assert message in caught.value.message
    assert caught.value.remedy


def test_a_figure_without_which_nothing_can_be_planned_must_not_be_null(write):
    text = PROFILE.replace("200e9", "null").replace("      bandwidth_bytes_per_s: x\n", "")
    with pytest.raises(UsageError, match="'bandwidth_bytes_per_s' of 'my-card' is null") as caught:
        find_device(write(text + "      bandwidth_bytes_per_s: unknown\n"))
    assert caught.value.place == "my.yaml:11:28"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "must be a mapping"),
        ("[]", "must be a mapping"),
        ("version: 1\ndevices: []\n", "'devices' must not be empty"),
        ("version: 1\ndevices: 3\n", "'devices' must be a list, not 3"),
        ("version: 1\ndevices: [3]\n", "'devices[0]' must be a mapping"),
        ("version: 1\ndevices: [\n", "not valid YAML"),
        (b"\xff\xfe", "not UTF-8"),
        ("version: 1\ndevices: [" + "1," * 100_000 + "1]\n", "larger than 64 KiB"),
        ("version: 1\ndevices: [" + "1," * 560 + "1]\n", "too many entries"),
        ("version: 1\ndevices: " + "[" * 60_000, "nesting deeper than"),
        (PROFILE + PROFILE.partition("devices:\n")[2], "the name 'my-card' stands twice, first at my.yaml:3:11"),
    ],
)
def test_a_file_that_holds_no_profiles_is_refused(write, content, message):
    with pytest.raises(UsageError) as caught:
        find_device(write(content))
    assert message in caught.value.message
    assert caught.value.place.startswith("my.yaml")


def test_several_problems_are_told_together(write):
    with pytest.raises(UsageError) as caught:
        find_device(write(PROFILE.replace("200e9", "fast").replace("unified: false", "unified: 0")))
    assert caught.value.message.startswith("2 problems\n")
    assert "my.yaml:9:14" in caught.value.message
    assert "my.yaml:11:28" in caught.value.message


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(UsageError, match="cannot be read") as caught:
        find_device(str(tmp_path / "none.yaml"))
    assert caught.value.place.endswith("none.yaml")


def test_a_device_cannot_be_changed():
    with pytest.raises(ValidationError):
        DEVICES["t4"].memory_bytes = 1


def test_the_schema_says_in_which_unit_each_figure_is():
    schema = Device.model_json_schema()
    rates = schema["$defs"]["Peak"]["properties"]
    assert all(
        "description" in value for value in [*schema["properties"].values(), *rates.values()] if "$ref" not in value
    )
    assert "per second" in schema["properties"]["bandwidth_bytes_per_s"]["description"]
    assert all("/s" in rates[name]["description"] for name in ("fp32", "fp16", "int8"))


@pytest.mark.parametrize(
    ("name", "precisions", "words"),
    [
        ("t4", ["fp16"], []),
        ("t4", ["bf16"], ["no BF16 arithmetic"]),
        ("a10", ["fp16", "bf16", "fp32", "prune"], []),
        ("gtx-1080", ["fp16"], ["1/64 of the rate"]),
        ("t4", ["int8_dynamic"], ["no CUDA kernel"]),
        ("t4", ["weight_only", "weight_only"], ["only at small batches"]),
        ("cpu-milan-2", ["fp16", "int8_dynamic", "weight_only"], ["only stored", "measure whether it is faster"]),
        ("gtx-1080", ["int8_dynamic", "fp16"], ["no CUDA kernel", "FP16 arithmetic is slow"]),
    ],
)
def test_what_gains_nothing_is_warned_about(name, precisions, words):
    warnings = warnings_for(DEVICES[name], precisions)
    assert len(warnings) == len(words)
    assert all(
        word in warning and DEVICES[name].title in warning for word, warning in zip(words, warnings, strict=True)
    )


@pytest.mark.parametrize("isa", ["avx512_vnni", "avx_vnni", "amx_int8", "dotprod", "i8mm"])
def test_a_processor_with_8_bit_dot_products_is_not_warned_about(isa):
    assert not warnings_for(DEVICES["cpu-milan-2"].model_copy(update={"isa": ["avx2", isa]}), ["int8_dynamic"])


def test_what_is_not_known_is_said_to_be_unknown():
    unknown = DEVICES["cpu-milan-2"].model_copy(update={"isa": None})
    assert "not known" in warnings_for(unknown, ["int8_dynamic"])[0]
    card = DEVICES["t4"].model_copy(update={"fast_fp16": None})
    assert "not known" in warnings_for(card, ["fp16"])[0]
