"""Read scans of digits with the model of the digits example, after `make demo`: an inferencer and a program around it.

python examples/read_digits.py configs/digits/cnn.py work_dirs/digits/epoch_20.pth SCAN.npy ... | FOLDER
"""

import sys

import numpy as np

from trainwright.data import Compose
from trainwright.infer import BaseInferencer
from trainwright.structures import LabelData

SHADES = " .:-=+*#%@"


class DigitReader(BaseInferencer):
    """Reads scans: arrays (8, 8) with values from 0 to 1, or files of such arrays."""

    visualize_kwargs = {"draw"}
    postprocess_kwargs = {"top"}

    def _init_pipeline(self, cfg):
        transforms = Compose(cfg.test_dataloader.dataset.pipeline)

        def pipeline(scan):
            return transforms({"inputs": as_array(scan)})

        return pipeline

    def forward(self, inputs):
        (batch,) = super().forward(inputs)  # the model predicts one dict for the whole batch
        return [LabelData(scores=scores) for scores in batch["scores"].softmax(dim=1).cpu()]

    def visualize(self, inputs, preds, draw=False):
        return [as_text(as_array(scan)) for scan in inputs] if draw else None

    def postprocess(self, preds, visualization, return_datasamples=False, top=1):
        if not return_datasamples:
            preds = [most_likely(pred.scores, top) for pred in preds]
        return {"predictions": preds, "visualization": visualization}


def as_array(scan):
    scan = np.load(scan, allow_pickle=False) if isinstance(scan, str) else scan
    return scan.astype(np.float32)


def as_text(scan):
    shades = (scan.clip(0, 1) * (len(SHADES) - 1)).round().astype(int)
    return "\n".join("".join(SHADES[shade] * 2 for shade in row) for row in shades)


def most_likely(scores, n):
    return [{"digit": int(digit), "share": round(float(scores[digit]), 4)} for digit in scores.argsort()[-n:].flip(0)]


if __name__ == "__main__":
    config, weights, *scans = sys.argv[1:]
    reader = DigitReader(config, weights)
    said = reader(scans[0] if len(scans) == 1 else scans, batch_size=64, draw=True, top=2)
    for prediction, drawing in zip(said["predictions"], said["visualization"], strict=True):
        print(drawing, *prediction, sep="\n")
