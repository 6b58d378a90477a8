"""Reads exported models with libraries that are not ours and compares.

Usage: readers.py DIRECTORY, where each sub-directory holds case.json (the
specification, the tensors' names and shapes, inputs x and the probabilities
that Go predicted), model.safetensors and model.onnx. Exits 1 at the first
difference above 1e-5.
"""

import json
import pathlib
import sys

import numpy as np
import onnxruntime
from safetensors import safe_open
from safetensors.numpy import save_file


def activation(name):
    return {
        None: lambda v: v,
        "relu": lambda v: np.maximum(v, 0),
        "tanh": np.tanh,
        "sigmoid": lambda v: 1 / (1 + np.exp(-v)),
    }[name]


def forward(spec, tensors, x):
    """The forward pass in float64, from the tensors alone."""
    act = activation(spec.get("activation"))
    h = x.astype(np.float64)
    layers = len(tensors) // 2
    if spec["kind"] == "cnn":
        image = spec["image"]
        h = h.reshape(-1, image["channels"], image["height"], image["width"])
    for i in range(layers):
        w = tensors[f"layer{i}.weight"].astype(np.float64)
        b = tensors[f"layer{i}.bias"].astype(np.float64)
        if w.ndim == 4:
            pad = w.shape[2] // 2
            padded = np.pad(h, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
            windows = np.lib.stride_tricks.sliding_window_view(padded, w.shape[2:], axis=(2, 3))
            h = act(np.einsum("ncyxij,fcij->nfyx", windows, w) + b[:, None, None])
            n, f, height, width = h.shape
            h = h[:, :, : height // 2 * 2, : width // 2 * 2]
            h = h.reshape(n, f, height // 2, 2, width // 2, 2).max(axis=(3, 5))
        else:
            h = h.reshape(len(h), -1) @ w.T + b
            if i < layers - 1:
                h = act(h)
    if spec["kind"] == "linear":
        return h  # scores, not probabilities
    if spec["kind"] == "logistic":
        h = np.concatenate([np.zeros_like(h), h], axis=1)
    h = np.exp(h - h.max(axis=1, keepdims=True))
    return h / h.sum(axis=1, keepdims=True)


def compare(case, what, got, want):
    if got.shape != want.shape:
        sys.exit(f"{case}: {what}: shape {got.shape}, want {want.shape}")
    worst = float(np.abs(got - want).max())
    if not worst <= 1e-5:
        sys.exit(f"{case}: {what}: differs by {worst}")
    print(f"{case}: {what}: largest difference {worst:.1e}")


for directory in sorted(pathlib.Path(sys.argv[1]).iterdir()):
    case = json.loads((directory / "case.json").read_text())
    spec = case["spec"]
    x = np.array(case["x"], dtype=np.float32).reshape(-1, spec["inputs"])
    want = np.array(case["probabilities"], dtype=np.float32).reshape(-1, spec["classes"])

    with safe_open(directory / "model.safetensors", framework="np") as f:
        tensors = {name: f.get_tensor(name) for name in f.keys()}
        metadata = f.metadata()
    if json.loads(metadata["credence.spec"]) != spec:
        sys.exit(f"{directory.name}: specification {metadata}")
    shapes = {name: [str(t.dtype), list(t.shape)] for name, t in tensors.items()}
    if shapes != {t["Name"]: ["float32", t["Shape"]] for t in case["tensors"]}:
        sys.exit(f"{directory.name}: tensors {shapes}")
    compare(directory.name, "safetensors", forward(spec, tensors, x), want)
    save_file(tensors, directory / "rewritten.safetensors", metadata=metadata)

    session = onnxruntime.InferenceSession(directory / "model.onnx", providers=["CPUExecutionProvider"])
    (got,) = session.run(["probabilities"], {"features": x})
    compare(directory.name, "onnxruntime", got, want)
