"""What inferencers of real projects, and the hub, say of made pictures: written as JSON.

python tests/clients/infer_with.py OUT.json
python -m trainwright.compat mmengine -- tests/clients/infer_with.py OUT.json
"""

from __future__ import annotations

import json
import sys
from typing import Any

import numpy as np
import torch
from mmengine.hub import get_config, get_model
from mmengine.infer import BaseInferencer


def picture(size: int) -> np.ndarray:
    return np.random.RandomState(0).randint(0, 255, (size, size, 3), dtype=np.uint8)


def hub() -> list[Any]:
    cfg = get_config("mmpretrain::resnet/resnet18_8xb32_in1k.py", pretrained=True)
    torch.manual_seed(0)
    model = get_model("mmpretrain::resnet/resnet18_8xb32_in1k.py")
    names = BaseInferencer.list_models("mmdet", "faster.rcnn_r50")
    return [cfg.model_path, sorted(cfg), names, float(sum(p.double().abs().sum() for p in model.parameters()))]


def segmentation() -> list[Any]:
    from mmseg.apis import MMSegInferencer

    cfg = get_config("mmseg::fcn/fcn_r18-d8_4xb2-80k_cityscapes-512x1024.py")
    cfg.model.pretrained = None
    for part in (cfg.model.backbone, cfg.model.decode_head, cfg.model.auxiliary_head):
        part.norm_cfg = {"type": "BN"}
    cfg.model.backbone.pop("pretrained", None)
    cfg.test_pipeline[1].scale = (64, 64)
    torch.manual_seed(0)
    infer = MMSegInferencer(cfg, device="cpu")
    samples = infer([picture(64), picture(64)[::-1].copy()], batch_size=2, return_datasamples=True)
    return [[int(one.pred_sem_seg.data.sum()), float(one.seg_logits.data.double().sum())] for one in samples]


def detection() -> list[Any]:
    from mmdet.apis import DetInferencer

    cfg = get_config("mmdet::retinanet/retinanet_r18_fpn_1x_coco.py")
    cfg.model.backbone.init_cfg = None
    cfg.model.test_cfg.score_thr = 0.001
    for transform in cfg.test_dataloader.dataset.pipeline:
        if transform["type"].endswith("Resize"):
            transform["scale"] = (96, 96)
    torch.manual_seed(0)
    infer = DetInferencer(cfg, device="cpu", show_progress=False)
    found = infer([picture(96)], return_datasamples=True, no_save_vis=True)["predictions"][0].pred_instances
    best = found[found.scores > found.scores.median()]
    return [sorted(found.keys()), len(found), len(best), found.bboxes.tolist(), best.scores.tolist()]


def maps() -> list[Any]:
    from mmpose.structures import MultilevelPixelData

    data = MultilevelPixelData(metainfo={"size": 1})
    data.heat = [torch.ones(2, 8, 8), torch.ones(2, 4, 4)]
    return [data.shape, data.nlevel, type(data[0]).__name__, data[1].heat.shape, "heat" in data, data.cpu().nlevel]


if __name__ == "__main__":
    torch.set_num_threads(1)
    said = {part.__name__: part() for part in (hub, segmentation, detection, maps)}
    with open(sys.argv[1], "w", encoding="utf-8") as file:
        json.dump(said, file)
