"""Data that the clients train on: small pictures, made from a seed."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
from PIL import Image


def picture(rng: np.random.Generator, kind: int, size: int) -> np.ndarray:
    """(size, size, 3): noise around a colour that tells the kind."""
    base = np.array([(200, 60, 60), (60, 60, 200), (60, 200, 60)][kind])
    return np.clip(base + rng.normal(0, 40, (size, size, 3)), 0, 255).astype(np.uint8)


def class_folders(root: Path, per_class: int = 8, size: int = 40) -> None:
    """`root/{train,val}/{red,blue}/N.png`, as mmpretrain's CustomDataset reads them."""
    rng = np.random.default_rng(0)
    for part in ("train", "val"):
        for kind, name in enumerate(("red", "blue")):
            folder = root / part / name
            folder.mkdir(parents=True, exist_ok=True)
            for number in range(per_class):
                Image.fromarray(picture(rng, kind, size)).save(folder / f"{number}.png")


def masks(root: Path, n_pictures: int = 8, size: int = 64) -> None:
    """`root/{img,ann}/N.png`: pictures of three kinds of ground in strips, and which kind each pixel is."""
    rng = np.random.default_rng(1)
    for name in ("img", "ann"):
        (root / name).mkdir(parents=True, exist_ok=True)
    for number in range(n_pictures):
        edges = sorted(rng.integers(8, size - 8, 2))
        labels = np.searchsorted(edges, np.arange(size), side="right")
        kinds = np.stack([picture(rng, kind, size) for kind in range(3)])
        image = kinds[labels, :, np.arange(size)].transpose(1, 0, 2)
        Image.fromarray(image).save(root / "img" / f"{number}.png")
        Image.fromarray(np.tile(labels.astype(np.uint8), (size, 1))).save(root / "ann" / f"{number}.png")


def boxes(root: Path, n_pictures: int = 8, size: int = 96) -> None:
    """`root/img/N.png` with two squares each, and `root/boxes.json` in COCO's format."""
    rng = np.random.default_rng(2)
    (root / "img").mkdir(parents=True, exist_ok=True)
    found = []
    for number in range(n_pictures):
        image = picture(rng, 2, size)
        for kind in (0, 1):
            side = int(rng.integers(24, 40))
            x, y = (int(at) for at in rng.integers(0, size - side, 2))
            image[y : y + side, x : x + side] = picture(rng, kind, side)
            box = {"bbox": [x, y, side, side], "area": side * side, "iscrowd": 0}
            found.append({"id": len(found) + 1, "image_id": number, "category_id": kind + 1, **box})
        Image.fromarray(image).save(root / "img" / f"{number}.png")
    pictures = [{"id": n, "file_name": f"{n}.png", "width": size, "height": size} for n in range(n_pictures)]
    kinds = [{"id": 1, "name": "red"}, {"id": 2, "name": "blue"}]
    text = json.dumps({"images": pictures, "annotations": found, "categories": kinds})
    (root / "boxes.json").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    top = Path(sys.argv[1])
    class_folders(top / "classes")
    masks(top / "masks")
    boxes(top / "boxes")
