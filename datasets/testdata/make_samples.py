"""Writes wards.parquet, wards.npz, pixels.npz and evil.npz beside this file.

Made with pandas 3.1.1, pyarrow 26.0.1 and numpy 2.4.6:

    python datasets/testdata/make_samples.py
"""
import os

import numpy as np
import pandas as pd

here = os.path.dirname(os.path.abspath(__file__))
path = lambda name: os.path.join(here, name)

frame = pd.DataFrame({
    "part": ["train", "train", "held out", "train", "train"],
    "age": pd.array([50, 20, 100, 30, 0], dtype="uint8"),
    "weight": [60.0, 80.0, 90.0, 70.0, None],
    "pressure": pd.array([120, 130, None, 100, 110], dtype="Int64"),
    "sex": pd.Categorical(["f", "m", "m", None, "f"]),
    "outcome": ["well", "1", "ill", "well", "0"],
    "hospital": ["north", "south,\nwing", "north", "north", None],
    "admitted": pd.to_datetime(["2026-01-01"] * 5),
    "visits": [[1], [], [1, 2], [3], [4]],
})
frame.to_parquet(path("wards.parquet"), index=False, row_group_size=2, compression="zstd")
np.savez_compressed(
    path("wards.npz"),
    part=frame["part"].to_numpy(dtype="U"),
    age=frame["age"].to_numpy(dtype=">u2"),
    weight=np.array(["60", "80", "90", "70", ""]),
    pressure=np.array(["120", "130", "NA", "100", "110"], dtype="S"),
    sex=np.array(["f", "m", "m", "?", "f"]),
    outcome=frame["outcome"].to_numpy(dtype="U"),
    hospital=np.array(["north", "south", "north", "north", ""]),
)
pixels = np.arange(3 * 2 * 2, dtype=np.uint8).reshape(3, 2, 2) * 20
np.savez(path("pixels.npz"), x=pixels, f=np.asfortranarray(pixels.astype("<f4")), y=np.array([2, 0, 1], dtype=np.int64))
np.savez(path("evil.npz"), x=np.array([{"a": 1}], dtype=object))
