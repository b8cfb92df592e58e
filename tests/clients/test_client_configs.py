"""Every config of the projects is read as MMEngine reads it: the same names and values in the same order."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from client_runs import HERE, needs_clients, run

pytestmark = needs_clients
PLACE = ".mim/configs"
SORT = f"{PLACE}/sort/faster-rcnn_r50_fpn_8xb2"
BROKEN = {  # these name a base, or what is in a base, that the project has not
    "mmpretrain": {
        f"{PLACE}/swin_transformer_v2/swinv2-base-w12_8xb128_in21k-192px.py",
        f"{PLACE}/swin_transformer_v2/swinv2-large-w12_8xb128_in21k-192px.py",
    },
    "mmdet": {
        f"{PLACE}/bytetrack/bytetrack_yolox_x_8xb4-amp-80e_crowdhuman-mot17halftrain_test-mot17test.py",
        f"{SORT}-4e_mot17train_test-mot17train.py",
        f"{SORT}-8e_mot20halftrain_test-mot20halfval.py",
        f"{SORT}-8e_mot20train_test-mot20train.py",
    },
    "mmocr": {f"{PLACE}/textdet/dbnet/dbnet_resnet50-dcnv2_fpnc_100k_synthtext.py"},
}
ONLY_HERE = {"mmpretrain": 4, "mmpose": 1}  # MMEngine takes an import of a library for the other syntax
PROJECTS = {"mmpretrain": 846, "mmseg": 769, "mmdet": 866, "mmpose": 464, "mmocr": 116, "mmaction": 248, "mmagic": 306}


def read(engine: str, project: str, folder: Path) -> dict[str, dict]:
    out = folder / f"{engine}.jsonl"
    text = ["--text"] if engine == "trainwright" else []
    run(engine, HERE / "read_configs.py", project, out, *text, folder=folder)
    lines = out.read_text(encoding="utf-8").splitlines()
    return {line.pop("path"): line for line in map(json.loads, lines)}


@pytest.mark.parametrize("project", PROJECTS)
def test_every_config_is_read_as_by_mmengine(tmp_path, project):
    ours, theirs = (read(engine, project, tmp_path) for engine in ("trainwright", "mmengine"))
    assert list(ours) == list(theirs)
    assert len(ours) == PROJECTS[project]
    errors = {path: one["error"] for path, one in ours.items() if "error" in one}
    assert set(errors) == BROKEN.get(project, set()), errors
    assert all("error" in theirs[path] for path in errors)
    assert sum("error" in one for one in theirs.values()) == len(errors) + ONLY_HERE.get(project, 0)
    for path in set(ours) - set(errors):
        assert ours[path]["text_tree"] == ours[path]["tree"], path
        assert theirs[path].get("tree", ours[path]["tree"]) == ours[path]["tree"], path
    both = [path for path in ours if "load_s" in ours[path] and "load_s" in theirs[path]]
    seconds = [sum(found[path]["load_s"] for path in both) for found in (ours, theirs)]
    assert seconds[0] < seconds[1] / 3, seconds
