"""A data frame's day, with so many rows, each result printed as text and checksum."""

import hashlib
import sys

import numpy as np
import pandas as pd


def show(what, frame):
    digest = hashlib.sha256(pd.util.hash_pandas_object(frame).values.tobytes()).hexdigest()[:24]
    print(f"{what}: {len(frame)} rows, {digest}\n{frame.head(3)}", flush=True)


def main():
    rows = int(sys.argv[1])
    rng = np.random.default_rng(7)
    frame = pd.DataFrame(
        {
            "key": rng.integers(0, rows // 20, rows),
            "name": np.array(["ada", "grace", "alan", "edsger", "barbara"])[rng.integers(0, 5, rows)],
            "value": rng.integers(-1000, 1000, rows),
            "weight": rng.integers(1, 1 << 20, rows) / 1024.0,
            "time": pd.Timestamp("2026-01-01") + pd.to_timedelta(rng.integers(0, 90 * 86400, rows), unit="s"),
        }
    )
    show("frame", frame)
    show("groups", frame.groupby("key")["value"].agg(["sum", "min", "max", "count"]))
    show("two keys", frame.groupby(["name", "key"], as_index=False)["value"].sum())
    other = pd.DataFrame({"key": np.arange(rows // 20), "label": [f"label {i % 997}" for i in range(rows // 20)]})
    joined = frame.merge(other, on="key", how="left")
    show("joined", joined)
    show("sorted", joined.sort_values(["label", "value", "weight", "time"], kind="stable"))
    show("pivot", joined.pivot_table(index="name", columns=joined["time"].dt.month, values="value", aggfunc="sum"))
    show("by day", frame.set_index("time")["value"].resample("D").sum().to_frame())
    show("rolling", frame.sort_values("time")["value"].rolling(50).sum().dropna().to_frame())
    show("strings", joined["label"].str.upper().str.replace("LABEL", "L").to_frame())
    show("categories", frame["name"].astype("category").cat.codes.to_frame())
    frame.to_csv("frame.csv", index=False)
    back = pd.read_csv("frame.csv", parse_dates=["time"])
    show("from CSV", back)
    print("equal", back.equals(frame))
    show("in pieces", pd.concat(pd.read_csv("frame.csv", chunksize=rows // 7)))
    frame.to_pickle("frame.pickle")
    print("pickle", pd.read_pickle("frame.pickle").equals(frame))
    wide = pd.concat([frame[["value", "weight"]].add_suffix(str(i)) * (i + 1) for i in range(10)], axis=1)
    show("wide", wide)
    show("described", wide.describe().round(6))


if __name__ == "__main__":
    main()
