"""Evaluators and metrics beside MMEngine's: the same predictions in, the same metrics, files and errors out."""

import logging
import pickle
import warnings
from types import SimpleNamespace

import pytest
import torch
from torch.utils.data import DataLoader

from trainwright.data import DefaultSampler
from trainwright.engine import HookTable, ValLoop
from trainwright.evaluation import BaseMetric, DumpResults, Evaluator, get_metric_value
from trainwright.evaluation.metric import _to_cpu
from trainwright.model import BaseModel
from trainwright.state import RunContext
from trainwright.testing.ranks import run_ranks

pytestmark = [pytest.mark.peer, pytest.mark.filterwarnings("ignore")]
with warnings.catch_warnings():  # of what it calls that is deprecated by now
    warnings.simplefilter("ignore")
    mmengine = pytest.importorskip("mmengine")
    from mmengine import dataset as their_data
    from mmengine import evaluator as theirs
    from mmengine.evaluator.metric import _to_cpu as their_to_cpu
    from mmengine.runner import ValLoop as TheirValLoop
    from mmengine.structures import BaseDataElement


class Body:
    """What a project writes: entries a sample, and their order."""

    default_prefix = "toy"

    def process(self, data_batch, data_samples):
        for sample in data_samples:
            self.results.append({"id": sample["id"], "score": sample["score"]})

    def compute_metrics(self, results):
        scores = torch.stack([result["score"] for result in results])
        ids = [result["id"] for result in results]
        return {"sum": scores.sum().item(), "ids": ids, "classes": (self.dataset_meta or {}).get("classes")}


class Ours(Body, BaseMetric):
    pass


class Theirs(Body, theirs.BaseMetric):
    pass


BOTH = ((Evaluator, Ours), (theirs.Evaluator, Theirs))


def predictions(indices):
    return [BaseDataElement(id=int(n), score=torch.tensor(float(n) / 3)) for n in indices]


def evaluated(kind, metric, size=11, **settings):
    evaluator = kind([metric(**settings), metric(prefix="again")])
    evaluator.dataset_meta = {"classes": ("a", "b")}
    for begin in range(0, size, 4):
        evaluator.process(predictions(range(begin, min(begin + 4, size))), {"inputs": begin})
    return evaluator.evaluate(size)


@pytest.mark.parametrize("settings", [{}, {"prefix": "own"}, {"collect_device": "gpu"}, {"collect_dir": "unused"}])
def test_metrics(settings):
    ours, other = (evaluated(kind, metric, **settings) for kind, metric in BOTH)
    assert ours == other
    assert list(ours) == list(other)


@pytest.mark.parametrize("chunk_size", [1, 3, 11, 20])
@pytest.mark.parametrize("with_data", [True, False])
def test_offline_evaluation(chunk_size, with_data):
    data = [{"inputs": torch.ones(2), "id": n} for n in range(11)] if with_data else None
    found = []
    for kind, metric in BOTH:
        batches = []

        class Watching(metric):
            def process(self, data_batch, data_samples, batches=batches):
                batches.append(repr(data_batch))
                super().process(data_batch, data_samples)

        result = kind(Watching()).offline_evaluate(predictions(range(11)), data, chunk_size)
        found.append((result, batches))
    assert found[0] == found[1]


def _on_ranks(size, round_up):
    logging.disable(logging.CRITICAL)
    found = []
    for (kind, metric), sampler in zip(BOTH, (DefaultSampler, their_data.DefaultSampler), strict=True):
        evaluator = kind(metric())
        indices = list(sampler(range(size), shuffle=False, seed=0, round_up=round_up))
        for begin in range(0, len(indices), 2):
            evaluator.process(predictions(indices[begin : begin + 2]))
        found.append(evaluator.evaluate(size))
    return found


@pytest.mark.parametrize(("world_size", "size", "round_up"), [(2, 7, True), (3, 7, True), (2, 8, False), (3, 2, True)])
def test_metrics_of_several_ranks(world_size, size, round_up):
    for ours, other in run_ranks(world_size, _on_ranks, size, round_up):
        assert ours == other
        assert ours["toy/ids"] == list(range(size))


def test_dumped_predictions(tmp_path):
    files = []
    for kind, metric in ((Evaluator, DumpResults), (theirs.Evaluator, theirs.DumpResults)):
        path = tmp_path / kind.__module__ / "out.pkl"
        evaluator = kind(metric(str(path)))
        evaluator.process(predictions(range(3)))
        assert evaluator.evaluate(3) == {}
        files.append(path)
    ours, other = (pickle.loads(file.read_bytes()) for file in files)
    assert repr(ours) == repr(other)
    assert repr(mmengine.load(files[0])) == repr(ours), "their reader reads our file"


@pytest.mark.parametrize("indicator", ["coco/AP", "AP", "AR", "coco/A", "A", ""])
def test_single_metrics(indicator):
    metrics = {"coco/AP": 1.0, "coco/AR": 2.0, "voc/AR": 3.0}

    def found_by(function):
        try:
            return function(indicator, metrics)
        except ValueError:
            return ValueError

    assert found_by(get_metric_value) == found_by(theirs.get_metric_value)


@pytest.mark.parametrize(
    "call",
    [
        lambda kind, metric, dump: kind([metric(), metric()]).evaluate(0),
        lambda kind, metric, dump: metric(collect_device="gpu", collect_dir="x"),
        lambda kind, metric, dump: dump("out.json"),
    ],
)
def test_the_same_is_refused(call, monkeypatch):
    monkeypatch.setattr(Body, "compute_metrics", lambda self, results: {"n": len(results)})
    for kind, metric, dump in ((*BOTH[0], DumpResults), (*BOTH[1], theirs.DumpResults)):
        with pytest.raises(ValueError, match=r"."):
            call(kind, metric, dump)


def test_to_the_cpu():
    data = {"a": [torch.ones(1), (torch.zeros(2), "s")], "e": BaseDataElement(x=torch.ones(1)), "n": None}
    ours, other = _to_cpu(data), their_to_cpu(data)
    for converted in (ours, other):
        converted["e"] = converted["e"].to_dict()
    assert repr(ours) == repr(other)


class Model(BaseModel):
    """Gives predictions with its losses behind them; every batch has as many samples, so both means agree."""

    def val_step(self, batch):
        losses = {"loss_a": batch.float().mean(), "loss_b": [batch.float().max()], "acc": torch.tensor(0.5)}
        return [*predictions(batch), BaseDataElement(loss=losses)]

    def forward(self, inputs, mode="tensor"):
        raise AssertionError("nobody asked for losses")


def test_losses_behind_predictions():
    model, data = Model(), range(12)
    visualizer = SimpleNamespace()
    runner = SimpleNamespace(ctx=RunContext("r", HookTable(None)), model=model, visualizer=visualizer)
    runner.strategy = SimpleNamespace(unwrapped_model=model, val_step=model.val_step, keyed=True, batches=iter)
    ours = ValLoop(runner, DataLoader(data, 3), Evaluator(Ours())).run()
    other_runner = SimpleNamespace(model=model, visualizer=visualizer, call_hook=lambda *args, **kwargs: None)
    other = TheirValLoop(other_runner, DataLoader(data, 3), theirs.Evaluator(Theirs())).run()
    assert ours.keys() == other.keys()
    for name in ("loss_a", "loss_b", "acc", "val_loss"):
        assert ours.pop(name) == pytest.approx(float(other.pop(name)))
    assert ours == other
