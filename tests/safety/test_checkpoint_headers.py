"""Headers of checkpoints that lie: they are held against the model, and the size of a file against what it can be."""

import hashlib
import json
import os
import struct

import pytest

from bptrain.cli.main import main
from bptrain.sweep import job  # noqa: F401 - not while memory is traced

HUGE = 10**18


def safetensors(header, data=b"", length=None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def entry(kind="F32", shape=(3, 4), begin=0, end=48):
    return {"dtype": kind, "shape": list(shape), "data_offsets": [begin, end]}


SAFETENSORS = {
    "a header of 2^63 bytes": safetensors(b"{}", length=2**63),
    "a header longer than the file": safetensors({"w": entry()}, bytes(48), length=10_000),
    "a header of no bytes": safetensors(b"", bytes(48)),
    "a header that is no JSON": safetensors(b"{'w': 1}", bytes(48)),
    "a header of brackets": safetensors(b"[" * 50_000),
    "a shape of 10^18": safetensors({"w": entry(shape=(HUGE, HUGE))}, bytes(48)),
    "a negative shape": safetensors({"w": entry(shape=(-3, -4))}, bytes(48)),
    "offsets that overlap": safetensors({"v": entry(), "w": entry(begin=24, end=72)}, bytes(72)),
    "offsets with a hole": safetensors({"v": entry(), "w": entry(begin=96, end=144)}, bytes(144)),
    "offsets past the end": safetensors({"w": entry()}, bytes(47)),
    "offsets that run backwards": safetensors({"w": entry(begin=48, end=0)}, bytes(48)),
    "more bytes than tensors": safetensors({"w": entry()}, bytes(49)),
    "a dtype of another width": safetensors({"w": entry("F64")}, bytes(48)),
    "an unknown dtype": safetensors({"w": entry("OBJ")}, bytes(48)),
    "one name twice": safetensors(b'{"w":%s,"w":%s}' % ((json.dumps(entry()).encode(),) * 2), bytes(48)),
    "no tensor": safetensors({}),
}


def digest(data):
    return hashlib.sha256(data).hexdigest()


def signed(checkpoint, name, content, tensors=None):
    """Puts a file into a checkpoint whose checksums are then right, as a stranger's can be."""
    (checkpoint / name).write_bytes(content)
    state = json.loads((checkpoint / "state.json").read_text())
    state["checksums"][name] = {"sha256": digest(content), "tensors": tensors or {}}
    del state["checksums"]["state.json"]
    state["checksums"]["state.json"] = {"sha256": digest(json.dumps(state, sort_keys=True).encode())}
    (checkpoint / "state.json").write_text(json.dumps(state))


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.safetensors", "best.safetensors"])
def test_tensors_whose_header_lies_are_refused_though_their_checksums_are_right(folder, run, refused, name):
    checkpoint = folder / run / "checkpoints/last"
    honest = (checkpoint / name).read_bytes()
    for content in SAFETENSORS.values():
        signed(checkpoint, name, content)
        refused(["resume", str(run)])
    signed(checkpoint, name, honest)
    assert main(["resume", "-q", str(run), "fit.epochs=3"]) == 0


def header_of(content):
    length = int.from_bytes(content[:8], "little")
    return json.loads(content[8 : 8 + length]), content[8 + length :]


def changed_header(content, change):
    header, data = header_of(content)
    names = [name for name in header if name != "__metadata__"]
    return safetensors(*change(header, names, data))


def of_other_shape(header, names, data):
    header[names[0]]["shape"] = [*header[names[0]]["shape"], 1]
    return header, data


def of_other_dtype(header, names, data):
    for name in names:
        header[name]["dtype"] = "I32" if header[name]["dtype"] == "F32" else header[name]["dtype"]
    return header, data


def of_other_name(header, names, data):
    header["other"] = header.pop(names[0])
    return header, data


def one_more(header, names, data):
    header["more"] = entry(begin=len(data), end=len(data) + 48)
    return header, data + bytes(48)


def one_less(header, names, data):
    last = max(names, key=lambda name: header[name]["data_offsets"])
    begin, _ = header.pop(last)["data_offsets"]
    return header, data[:begin]


@pytest.mark.parametrize("change", [of_other_shape, of_other_dtype, of_other_name, one_more, one_less])
@pytest.mark.parametrize("name", ["model.safetensors", "best.safetensors"])
def test_tensors_of_another_model_are_refused(folder, run, refused, name, change):
    checkpoint = folder / run / "checkpoints/last"
    content = changed_header((checkpoint / name).read_bytes(), change)
    signed(checkpoint, name, content)
    refused(["resume", str(run)], f"{name}: ", "in the model of this run")


def test_tensors_of_another_optimizer_are_refused(folder, run, refused):
    checkpoint = folder / run / "checkpoints/last"
    content = changed_header((checkpoint / "optimizer.safetensors").read_bytes(), of_other_shape)
    signed(checkpoint, "optimizer.safetensors", content)
    refused(["resume", str(run)], "checkpoints/last: ")


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.safetensors", "best.safetensors", "state.json"])
def test_a_file_of_a_checkpoint_that_is_larger_than_it_can_be_is_not_read(folder, run, refused, name):
    os.truncate(folder / run / "checkpoints/last" / name, 2**40)  # which takes no room on the disk
    refused(["resume", str(run)], f"{name} is missing", "arge")


@pytest.mark.parametrize("name", ["lock.json", "summary.json"])
def test_a_file_of_json_that_is_larger_than_it_can_be_is_not_read(folder, run, capsys, name):
    os.truncate(folder / run / name, 2**40)
    assert main(["runs"]) == 0
    assert capsys.readouterr().out.count(str(run)) == 1
