"""The effect of subtracting the mean over a set on the cosines of its features, and on nearest neighbours by cosine.

    python -m benchmarks.centring FEATURES [FEATURES …]

prints, per FEATURES, the mean cosine of two proteins before and after, the share of the ten nearest neighbours that
stay, and with labels the share of the nearest and of the five nearest that have the protein's own label. It holds a
matrix of rows × rows.
"""

import argparse

import numpy as np

from benchmarks.measuring import report
from resvae_ray import names
from resvae_ray.data.features import Features


def main() -> None:
    """Measures each set."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("features", nargs="+")
    for path in parser.parse_args().features:
        batches = list(Features.open(path).batches())
        rows = np.concatenate([batch.features for batch in batches]).astype(np.float64)
        labels = None
        if names.LABEL in batches[0].others.column_names:
            labels = np.array([label for batch in batches for label in batch.others[names.LABEL].to_pylist()])
        found, near = {}, {}
        for name, matrix in (("raw", rows), ("centred", rows - rows.mean(0))):
            mean, near[name] = cosines(matrix)
            found[name] = {"mean_cosine": round(mean, 3)} | ({} if labels is None else agreement(near[name], labels))
        stay = [len({*raw} & {*centred}) / 10 for raw, centred in zip(near["raw"], near["centred"], strict=True)]
        report("cosines of raw and centred features", features=path, rows=len(rows), stay=np.mean(stay), **found)


def cosines(matrix: np.ndarray) -> tuple[float, np.ndarray]:
    """The mean cosine of two rows, and the ten nearest of each (n, 10)."""
    directions = matrix / np.linalg.norm(matrix, axis=1, keepdims=True)
    cosine = directions @ directions.T
    mean = float(cosine[np.triu_indices(len(cosine), 1)].mean())
    np.fill_diagonal(cosine, -2)
    return mean, np.argsort(-cosine, axis=1)[:, :10]


def agreement(near: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """The share of the nearest and of the five nearest with the same label."""
    same = labels[near] == labels[:, None]
    return {"nearest": round(float(same[:, 0].mean()), 4), "five_nearest": round(float(same[:, :5].mean()), 4)}


if __name__ == "__main__":
    main()
