"""Writes the samples of the tests with h5py 3.16: python make_samples.py"""
import h5py
import numpy as np

with h5py.File("plain.h5", "w") as f:
    g = f.create_group("examples")
    for u in range(20):  # more than one leaf of a B-tree
        g.create_group(f"w{u:03d}").create_dataset("label", data=np.arange(u % 3, dtype=np.int32) - u)
    f["floats"] = np.array([[0.5, -1], [2, 3.25]], np.float32)
    f["doubles"] = np.array([1e-3, 7], np.float64)
    f["bytes"] = np.array([0, 200, 255], np.uint8)
    f["shorts"] = np.array([-2, 300], np.int16)
with h5py.File("other.h5", "w") as f:
    f.create_dataset("chunks", data=np.zeros((64, 64), np.float32), chunks=(8, 8))
    f.create_dataset("zipped", data=np.zeros((64, 64), np.float32), chunks=(8, 8), compression="gzip")
    f["big"] = np.array([1, 2], ">f4")
    f["text"] = np.array([b"ab", b"cd"])
with h5py.File("latest.h5", "w", libver="latest") as f:
    f["x"] = np.array([1.0], np.float32)
