"""`plan` and `devices`: answers, and what is said to questions that have none."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from fastwhisper_compress.checkpoint.known import KNOWN, n_parameters
from fastwhisper_compress.checkpoint.open import open_checkpoint
from fastwhisper_compress.memory.hardware import device_names
from fastwhisper_compress.recipe import list_recipes


def planned(cli, *arguments):
    done = cli("plan", *arguments, "--json")
    assert done.code == 0, done.err
    return json.loads(done.out)


@pytest.mark.parametrize("recipe", ["edge_tiny", "service_small", "bulk_large"])
def test_each_preset_fits_its_device(cli, recipe):
    found = planned(cli, recipe)
    assert found["fits"]
    assert found["needed_bytes"] <= found["budget_bytes"]
    assert found["estimate"]["workload"]["batch"] == {"edge_tiny": 1, "service_small": 8, "bulk_large": 16}[recipe]
    assert found["answer"].startswith(f"fits: {recipe} ")


def test_the_edge_preset_keeps_its_weights_below_50_mb(cli):
    assert planned(cli, "edge_tiny")["estimate"]["weights"] <= 50e6


@pytest.mark.parametrize("model", ["tiny.en", "large-v3", "turbo", "distil-whisper/distil-large-v3"])
def test_a_model_is_planned_with_every_recipe(cli, model):
    found = planned(cli, model, "--device", "a10")
    assert found["model"]["parameters"] == n_parameters(KNOWN[found["model"]["id"]])
    options = {one["recipe"]: one for one in found["options"]}
    assert set(options) == {*list_recipes()} - {"edge_tiny", "service_small", "bulk_large"}
    assert options["fp16"]["peak"] < options["fp32"]["peak"]
    assert options["fp16"]["largest_batch"] > options["fp32"]["largest_batch"]
    assert "int8_dynamic" in options["int8_dynamic"]["impossible"]


def test_what_does_not_fit_is_told_what_would(cli):
    found = planned(cli, "large-v3", "--device", "T4", "--batch", 16)
    assert not found["fits"]
    assert "fits with fp16 at batch 16" in found["answer"]
    medium = planned(cli, "medium", "--device", "raspberry-pi-5-4")
    assert not medium["fits"]
    keep, change = (
        {
            one["recipe"]: one["peak"]
            for one in medium["options"]
            if one["changes_network"] is kind and one["largest_batch"]
        }
        for kind in (False, True)
    )
    best = max(keep, key=keep.get)
    assert f"fits with {best} " in medium["answer"]
    assert max(change.values()) > keep[best]  # which cuts parts out, so it is not what is named
    nothing = planned(cli, "large-v3", "--device", "raspberry-pi-5-4", "--batch", 64)
    assert "does not fit" in nothing["answer"]


def test_a_recipe_that_does_not_fit_the_model_says_why(cli):
    options = {
        one["recipe"]: one for one in planned(cli, "distil-whisper/distil-large-v3", "--device", "a10")["options"]
    }
    assert "the decoder has 2 layers" in options["distil_half_decoder"]["impossible"]
    assert "too few" in cli("plan", "distil-whisper/distil-large-v3", "--device", "a10").out


def test_the_largest_batch_is_the_last_that_fits(cli):
    most = planned(cli, "bulk_large")["largest_batch"]
    assert planned(cli, "bulk_large", "--batch", most)["fits"]
    assert not planned(cli, "bulk_large", "--batch", most + 1)["fits"]


def test_the_answer_comes_first_and_the_phases_follow(cli):
    done = cli("plan", "base", "--device", "cpu-milan-2", "--batch", 4, "--train")
    assert done.code == 0, done.err
    first, second, *rest = done.out.splitlines()
    assert first.startswith("fits: fp32 needs ")
    assert "72.6 M parameters" in second
    assert [line.split()[0] for line in rest if "█" in line][:4] == ["load", "encode", "prefill", "decode"]
    assert "gradient checkpointing" in done.out


def test_a_recipe_file_is_planned_for_another_model_and_device(cli, tmp_path):
    recipe = tmp_path / "mine.yaml"
    recipe.write_text("version: 1\nname: mine\npasses:\n  - pass: fp16\n  - pass: fuse\n")
    found = planned(cli, recipe, "--model", "medium", "--device", "rtx 3060")
    assert (found["recipe"], found["model"]["id"]) == ("mine", "openai/whisper-medium")
    assert found["estimate"]["provider"] == "cuda"


def test_a_checkpoint_on_disk_is_planned_without_its_weights(cli, model):
    found = planned(cli, model, "--device", "cpu-milan-2")
    assert found["model"]["parameters"] == open_checkpoint(str(model)).n_parameters


def test_this_machine_is_the_default(cli):
    found = planned(cli, "int8_dynamic")
    assert found["device"]["name"] == "this-cpu"
    assert 0 < found["budget_bytes"] <= found["device"]["memory_bytes"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["large-v9"], ["large-v9", "openai/whisper-large-v3"]),
        (["openai/whisper-tny"], ["did you mean openai/whisper-tiny"]),
        (["no/such-folder/"], ["no such file or folder"]),
        (["no_such.yaml"], ["there is no such recipe file"]),
        (["base", "--device", "t5"], ["--device", "t4", "rtx-3060"]),
        (["base", "--device", "missing.yaml"], ["missing.yaml"]),
        (["base", "--batch", 0], ["--batch", "give 1 or more"]),
        (["base", "--beam", 0], ["--beam"]),
        (["base", "--audio-s", 31], ["--audio-s", "at most 30 s"]),
        (["int8_dynamic", "-o", "device=nothing"], ["nothing"]),
        (["base", "--device", ""], ["--device"]),
        (["base", "--device", "t4", "--provider", "cpu"], ["--provider", "leave it out"]),
        (["base", "--device", "t4", "--batch", "1" + 300 * "0"], ["--batch"]),
        (["base", "--tokens", 449], ["--tokens", "448"]),
        (["~nosuchuser/x"], ["~nosuchuser/x"]),
        (["x" * 300], ["no such file or folder"]),
    ],
)
def test_questions_without_an_answer(refused, arguments, words):
    refused(["plan", *arguments], 2, *words)


def test_a_recipe_that_the_device_cannot_run(refused):
    refused(["plan", "int8_dynamic", "--device", "t4"], 4, "CUDA has no kernel for int8_dynamic", "--device t4")


def test_settings_of_a_model_are_held_to_the_device_too(refused):
    refused(["plan", "base", "-o", "offload=layers", "--device", "t4"], 4, "streamed into a CPU's memory")
    refused(["plan", "base", "-o", "passes=[{pass: int8_dynamic}]", "--device", "t4"], 4, "no kernel for int8_dynamic")


def test_another_provider_leaves_the_presets_device(cli):
    found = planned(cli, "service_small", "--provider", "cpu")
    assert (found["device"]["name"], found["estimate"]["provider"]) == ("this-cpu", "cpu")


def test_training_says_how_and_whether_it_fits(cli):
    told = cli("plan", "large-v3", "--device", "a100-40", "--batch", 8, "--train").out
    assert "training in autocast" in told
    assert "does not fit" in told
    assert "training in FP32" in cli("plan", "base", "--device", "cpu-milan-2", "--train").out


def test_a_recipe_that_learns_says_how_many_clips_at_once(cli):
    clips = {
        size: cli("plan", "int4_qat", "--device", "cpu-milan-2", "--train", "--json", *more).json["training"]
        for size, more in ((8, ()), (2, ("-o", "passes.0.micro_batch_size=2")))
    }
    assert {size: found["batch"] for size, found in clips.items()} == {8: 8, 2: 2}
    assert clips[2]["activations"] < 0.3 * clips[8]["activations"]
    assert clips[8]["teacher"] == clips[8]["weights"] == clips[8]["gradients"]


def test_a_profile_with_a_figure_missing(refused, tmp_path):
    profile = tmp_path / "here" / "card.yaml"
    profile.write_text("version: 1\ndevices:\n  - name: card\n    title: Card\n")
    refused(["plan", "base", "--device", "card.yaml"], 2, "card.yaml", "memory_bytes")


def test_devices_lists_every_profile_and_this_machine(cli):
    done = cli("devices", "--json")
    names = [one["name"] for one in json.loads(done.out)]
    assert names[: len(device_names())] == device_names()
    assert "this-cpu" in names
    assert all(name in cli("devices").out for name in names)


def test_planning_loads_no_framework_and_no_weights():
    code = (
        "import sys; from fastwhisper_compress.memory.plan import Question, make_plan;"
        "make_plan(Question('int8_dynamic')); make_plan(Question('large-v3', device='t4', train=True));"
        "print(sorted({'torch', 'numpy', 'onnx', 'onnxruntime', 'transformers'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_plan_knows_the_encoder_backend(cli):
    plain, other = (planned(cli, "int8_dynamic", "--backend", b) for b in ("onnxruntime", "openvino"))
    assert other["backend"] == "openvino"
    assert other["needed_bytes"] > plain["needed_bytes"] + 50e6


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("fp16", "--device", "t4"), "OpenVINO runs graphs written for cpu"),
        (("fp32", "-o", "offload=layers"), "openvino cannot stream layers"),
    ],
)
def test_a_plan_refuses_what_openvino_cannot(cli, arguments, told):
    done = cli("plan", *arguments, "--backend", "openvino")
    assert done.code in (2, 4)
    assert told in done.err
