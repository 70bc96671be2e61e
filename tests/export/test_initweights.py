"""Checkpoints in guided-diffusion's names: the same function, colours turned round, every tensor accounted for.

The file's writer and the slow forward pass are restated here from the published layout, without the network's code.
"""

import json
import math
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from diffad_export.denoiser import from_blocks
from diffad_export.diffusion.schedule import linear_schedule
from diffad_export.initweights import init_from_checkpoint
from diffad_export.networks.paper import PaperTeacher
from diffad_runtime.errors import InputError

Tensors = dict[str, Tensor]
Array = np.ndarray[Any, np.dtype[np.float64]]

WIDTH, HEAD, GROUPS = 8, 4, 4
HEADS = {f"{part}.{kind}" for part in ("feature_norm", "feature_head", "variance_head") for kind in ("weight", "bias")}
# What each block holds: r residual, d and u residual that halves and doubles, a attention; with channels in and out.
INPUTS = [
    [("r", 8, 8)], [("r", 8, 8)], [("d", 8, 8)],
    [("r", 8, 16), ("a", 16, 16)], [("r", 16, 16), ("a", 16, 16)], [("d", 16, 16)],
    [("r", 16, 16), ("a", 16, 16)], [("r", 16, 16), ("a", 16, 16)],
]  # fmt: skip
MIDDLE = [("r", 16, 16), ("a", 16, 16), ("r", 16, 16)]
OUTPUTS = [
    [("r", 32, 16), ("a", 16, 16)], [("r", 32, 16), ("a", 16, 16)], [("r", 32, 16), ("a", 16, 16), ("u", 16, 16)],
    [("r", 32, 16), ("a", 16, 16)], [("r", 32, 16), ("a", 16, 16)], [("r", 24, 16), ("a", 16, 16), ("u", 16, 16)],
    [("r", 24, 8)], [("r", 16, 8)], [("r", 16, 8)],
]  # fmt: skip


def published(classes: int = 0) -> Tensors:
    """Random tensors under the names and in the shapes of the published files."""
    generator, out = torch.Generator().manual_seed(0), Tensors()

    def put(name: str, *shape: int) -> None:
        out[f"{name}.weight"] = torch.randn(*shape, generator=generator) / math.sqrt(math.prod(shape[1:]))
        out[f"{name}.bias"] = torch.randn(shape[0], generator=generator) / 4

    def block(prefix: str, layers: list[tuple[str, int, int]]) -> None:
        for number, (kind, a, b) in enumerate(layers):
            name = f"{prefix}.{number}"
            if kind == "a":
                put(f"{name}.norm", a)
                put(f"{name}.qkv", 3 * a, a, 1)
                put(f"{name}.proj_out", a, a, 1)
                continue
            put(f"{name}.in_layers.0", a)
            put(f"{name}.in_layers.2", b, a, 3, 3)
            put(f"{name}.emb_layers.1", 2 * b, 4 * WIDTH)
            put(f"{name}.out_layers.0", b)
            put(f"{name}.out_layers.3", b, b, 3, 3)
            if a != b:
                put(f"{name}.skip_connection", b, a, 1, 1)

    put("time_embed.0", 4 * WIDTH, WIDTH)
    put("time_embed.2", 4 * WIDTH, 4 * WIDTH)
    if classes:
        out["label_emb.weight"] = torch.randn(classes, 4 * WIDTH, generator=generator)
    put("input_blocks.0.0", WIDTH, 3, 3, 3)
    for number, layers in enumerate(INPUTS, 1):
        block(f"input_blocks.{number}", layers)
    block("middle_block", MIDDLE)
    for number, layers in enumerate(OUTPUTS):
        block(f"output_blocks.{number}", layers)
    put("out.0", WIDTH)
    put("out.2", 6, WIDTH, 3, 3)
    return out


class Slow:
    """The published forward pass, image by image, in float64 numpy loops. RGB in; six planes out."""

    def __init__(self, tensors: Tensors) -> None:
        self.of: dict[str, Array] = {name: tensor.double().numpy() for name, tensor in tensors.items()}

    def __call__(self, x: Array, t: int, label: int | None) -> Array:
        angles = [t / 10_000 ** (i / (WIDTH // 2)) for i in range(WIDTH // 2)]
        waves = np.array([math.cos(a) for a in angles] + [math.sin(a) for a in angles])
        e = self.linear("time_embed.2", silu(self.linear("time_embed.0", waves)))
        if label is not None:
            e = e + self.of["label_emb.weight"][label]
        h = self.conv("input_blocks.0.0", x)
        skips = [h]
        for number, layers in enumerate(INPUTS, 1):
            h = self.block(f"input_blocks.{number}", layers, h, e)
            skips.append(h)
        h = self.block("middle_block", MIDDLE, h, e)
        for number, layers in enumerate(OUTPUTS):
            h = self.block(f"output_blocks.{number}", layers, np.concatenate([h, skips.pop()]), e)
        return self.conv("out.2", silu(self.norm("out.0", h)))

    def block(self, prefix: str, layers: list[tuple[str, int, int]], h: Array, e: Array) -> Array:
        for number, (kind, _, _) in enumerate(layers):
            name = f"{prefix}.{number}"
            h = self.attention(name, h) if kind == "a" else self.residual(name, kind, h, e)
        return h

    def residual(self, name: str, kind: str, h: Array, e: Array) -> Array:
        out = silu(self.norm(f"{name}.in_layers.0", h))
        if kind == "d":
            out, h = halved(out), halved(h)
        if kind == "u":
            out, h = out.repeat(2, 1).repeat(2, 2), h.repeat(2, 1).repeat(2, 2)
        out = self.norm(f"{name}.out_layers.0", self.conv(f"{name}.in_layers.2", out))
        scale, shift = np.split(self.linear(f"{name}.emb_layers.1", silu(e)), 2)
        out = silu(out * (1 + scale[:, None, None]) + shift[:, None, None])
        out = self.conv(f"{name}.out_layers.3", out)
        return out + (self.conv(f"{name}.skip_connection", h) if f"{name}.skip_connection.weight" in self.of else h)

    def attention(self, name: str, h: Array) -> Array:
        c, side, _ = h.shape
        flat = self.norm(f"{name}.norm", h).reshape(c, -1)
        qkv = self.of[f"{name}.qkv.weight"][:, :, 0] @ flat + self.of[f"{name}.qkv.bias"][:, None]
        mixed = np.zeros_like(flat)
        for head in range(c // HEAD):
            # Heads are cut first, then each into its q, k and v.
            q, k, v = (qkv[3 * head * HEAD + part * HEAD :][:HEAD] for part in range(3))
            for place in range(side * side):
                score = np.exp(q[:, place] @ k / math.sqrt(HEAD))
                mixed[head * HEAD : (head + 1) * HEAD, place] = v @ (score / score.sum())
        out = self.of[f"{name}.proj_out.weight"][:, :, 0] @ mixed + self.of[f"{name}.proj_out.bias"][:, None]
        return h + out.reshape(h.shape)

    def norm(self, name: str, h: Array) -> Array:
        parts = [(g - g.mean()) / np.sqrt(g.var() + 1e-5) for g in np.split(h, GROUPS)]
        gain, bias = self.of[f"{name}.weight"], self.of[f"{name}.bias"]
        return np.concatenate(parts) * gain[:, None, None] + bias[:, None, None]

    def linear(self, name: str, h: Array) -> Array:
        out: Array = self.of[f"{name}.weight"] @ h + self.of[f"{name}.bias"]
        return out

    def conv(self, name: str, h: Array) -> Array:
        kernel = self.of[f"{name}.weight"]
        size, (_, high, wide) = kernel.shape[2], h.shape
        padded = np.pad(h, ((0, 0), (size // 2,) * 2, (size // 2,) * 2))
        out = np.zeros((len(kernel), high, wide))
        for i in range(size):
            for j in range(size):
                out += np.einsum("oc,chw->ohw", kernel[:, :, i, j], padded[:, i : i + high, j : j + wide])
        return out + self.of[f"{name}.bias"][:, None, None]


def silu(h: Array) -> Array:
    out: Array = h / (1 + np.exp(-h))
    return out


def halved(h: Array) -> Array:
    c, high, wide = h.shape
    out: Array = h.reshape(c, high // 2, 2, wide // 2, 2).mean((2, 4))
    return out


def network(classes: int = 0, width: int = WIDTH) -> PaperTeacher:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return PaperTeacher(
            5, (width, 2 * width, 2 * width), 2, classes=classes, attention=(2, 4), head_width=HEAD, groups=GROUPS
        ).eval()


def as_torch(path: Path, tensors: Tensors) -> Path:
    torch.save(OrderedDict(tensors), path)
    return path


def as_old_torch(path: Path, tensors: Tensors) -> Path:
    torch.save(tensors, path, _use_new_zipfile_serialization=False)
    return path


def as_safetensors(path: Path, tensors: Tensors) -> Path:
    save_file(tensors, path.with_suffix(".safetensors"))
    return path.with_suffix(".safetensors")


@pytest.mark.parametrize("label", [None, 2])
@torch.no_grad()
def test_the_file_s_weights_give_the_file_s_function(tmp_path: Path, label: int | None) -> None:
    tensors = published(classes=3)
    teacher = network(classes=3)
    init_from_checkpoint(teacher, as_torch(tmp_path / "tiny.pt", tensors))
    bgr, t = torch.randn(3, 8, 8, generator=torch.Generator().manual_seed(2)), 321
    out = teacher(bgr[None], torch.tensor([t]), None if label is None else torch.tensor([label]))
    planes = torch.from_numpy(Slow(tensors)(bgr.flip(0).double().numpy(), t, label))
    eps, v = planes[:3].flip(0), planes[3:].flip(0)
    a = linear_schedule().abar[t]
    x0 = (bgr - (1 - a).sqrt() * eps) / a.sqrt()
    assert eps.std() > 0.1
    torch.testing.assert_close(from_blocks(out.x0)[0].double(), x0, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(from_blocks(out.v)[0].double(), v, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("write", [as_torch, as_old_torch, as_safetensors])
def test_every_way_to_write_it_loads_the_same(tmp_path: Path, write: Callable[[Path, Tensors], Path]) -> None:
    tensors, teacher = published(), network()
    report = init_from_checkpoint(teacher, write(tmp_path / "tiny.pt", tensors))
    assert set(report.loaded) == set(tensors)
    assert set(report.missing) == HEADS
    assert not report.shape_differs
    assert not report.left_over
    ours = teacher.state_dict()
    turned = {"input_blocks.0.0.weight", "out.2.weight", "out.2.bias"}
    assert all(torch.equal(ours[name], tensor) for name, tensor in tensors.items() if name not in turned)
    assert torch.equal(ours["input_blocks.0.0.weight"], tensors["input_blocks.0.0.weight"][:, [2, 1, 0]])
    assert torch.equal(ours["out.2.weight"], tensors["out.2.weight"][[2, 1, 0, 5, 4, 3]])
    assert torch.equal(ours["out.2.bias"], tensors["out.2.bias"][[2, 1, 0, 5, 4, 3]])


def test_the_names_and_their_order_are_the_published_ones() -> None:
    assert [name for name in network(classes=3).state_dict() if name not in HEADS] == list(published(classes=3))


def test_half_precision_is_widened(tmp_path: Path) -> None:
    halves = {name: tensor.half() for name, tensor in published().items()}
    teacher = network()
    init_from_checkpoint(teacher, as_torch(tmp_path / "tiny.pt", halves))
    weight = teacher.state_dict()["middle_block.0.in_layers.2.weight"]
    assert weight.dtype == torch.float32
    assert torch.equal(weight.half(), halves["middle_block.0.in_layers.2.weight"])


def test_what_does_not_fit_is_reported_and_left_at_init(tmp_path: Path) -> None:
    tensors = published(classes=1000)
    tensors["out.2.weight"], tensors["out.2.bias"] = tensors["out.2.weight"][:3], tensors["out.2.bias"][:3]
    del tensors["time_embed.0.bias"]
    tensors["classifier.weight"] = torch.zeros(2)
    teacher, fresh = network(classes=15), network(classes=15).state_dict()
    report = init_from_checkpoint(teacher, as_torch(tmp_path / "tiny.pt", tensors))
    assert [str(one) for one in report.shape_differs] == [
        "label_emb.weight expected [15, 32], got [1000, 32]",
        f"out.2.weight expected [6, {WIDTH}, 3, 3], got [3, {WIDTH}, 3, 3]",
        "out.2.bias expected [6], got [3]",
    ]
    assert set(report.missing) == {"time_embed.0.bias"} | HEADS
    assert report.left_over == ("classifier.weight",)
    ours = teacher.state_dict()
    left = {one.name for one in report.shape_differs} | set(report.missing)
    assert left | set(report.loaded) == set(ours)
    assert all(torch.equal(ours[name], fresh[name]) for name in left)
    copied = sum(ours[name].numel() for name in report.loaded)
    assert report.parameters_loaded == copied
    assert report.share == copied / sum(p.numel() for p in teacher.parameters())
    lines = "\n".join(report.lines())
    for words in ("% of 0.1 M parameters from", "3 of another shape, 7 missing in the file, 1 left over in it"):
        assert words in lines
    assert "missing, left at init: time_embed.0.bias" in lines
    assert "left over: classifier.weight" in lines
    stored = json.loads(json.dumps(report.to_json()))
    assert stored["shape_differs"][0] == {"name": "label_emb.weight", "expected": [15, 32], "got": [1000, 32]}
    assert stored["share"] == report.share


def test_a_network_of_another_size_is_refused_and_nothing_is_copied(tmp_path: Path) -> None:
    teacher = network(width=16)
    fresh = {name: tensor.clone() for name, tensor in teacher.state_dict().items()}
    with pytest.raises(InputError) as caught:
        init_from_checkpoint(teacher, as_torch(tmp_path / "tiny.pt", published()))
    assert "no guided-diffusion UNet of this size: 1 of" in str(caught.value)  # the six biases of the end
    assert "first, time_embed.0.weight expected [64, 16], got [32, 8]" in str(caught.value)
    assert all(torch.equal(tensor, fresh[name]) for name, tensor in teacher.state_dict().items())


def test_a_file_of_another_network_is_refused(tmp_path: Path) -> None:
    path = as_torch(tmp_path / "other.pt", {"stem.weight": torch.zeros(3)})
    with pytest.raises(InputError, match=r"first, time_embed\.0\.weight is missing in it"):
        init_from_checkpoint(network(), path)
