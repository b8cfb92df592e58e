"""A validation on any number of ranks gives what one process gives: no sample counts twice, in no kind of metric."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from trainwright.base.errors import DataError
from trainwright.data import DefaultSampler, build_dataloader
from trainwright.engine import HookTable, ValLoop
from trainwright.evaluation import Accuracy, BaseMetric, Evaluator, TorchMetric
from trainwright.state import RunContext
from trainwright.testing.ranks import run_ranks
from trainwright.testing.toys import ToyDataset, ToyModel

pytest.importorskip("torchmetrics")
# What torchmetrics says of metrics that must keep all predictions, and of a handful of samples.
pytestmark = [
    pytest.mark.filterwarnings("ignore:Metric `SpearmanCorrcoef` will save all:UserWarning"),
    pytest.mark.filterwarnings("ignore:The variance of predictions or target is close to zero:UserWarning"),
]

SIZES = (1, 2, 4, 7, 10, 11)


class Ids(BaseMetric):
    """The samples that were processed, in order, one entry each."""

    default_prefix = "ids"

    def process(self, data_batch, data_samples):
        for sample in data_samples:
            self.results += torch.as_tensor(sample["id"]).reshape(-1).tolist()

    def compute_metrics(self, results):
        return {"seen": list(results)}


class PerBatch(BaseMetric):
    """One entry a batch, which no cut to the size of the dataset can repair."""

    default_prefix = "batch"

    def process(self, data_batch, data_samples):
        labels = data_batch["label"]
        assert len(labels) == sum(torch.as_tensor(sample["id"]).numel() for sample in data_samples)
        self.results.append((len(labels), sum(int(label) for label in labels)))

    def compute_metrics(self, results):
        return {"n": sum(n for n, _ in results), "labels": sum(labels for _, labels in results)}


class Numbered(ToyDataset):
    def __getitem__(self, index):
        return {**super().__getitem__(index), "id": index}


class Model(ToyModel):
    """In float64, so that the mean loss does not depend on how samples fall into batches."""

    def __init__(self, per_sample):
        super().__init__(n_terms=3)
        self.double()
        self.per_sample = per_sample

    def forward(self, inputs, label=None, id=None, mode="tensor"):
        inputs = torch.stack(list(inputs)).double()
        out = super().forward(inputs, None if label is None else torch.as_tensor(label), mode)
        if mode != "predict":
            return out
        whole = {**out, "id": torch.as_tensor(id), "margin": out["scores"][:, 0], "sum": inputs.sum(1)}
        if not self.per_sample:
            return [whole]
        return [{key: value[n] for key, value in whole.items()} for n in range(len(inputs))]


def torch_metric(kind, pred_key="scores", label_key="label", **settings):
    return TorchMetric({"type": f"torchmetrics.{kind}", **settings}, pred_key, label_key)


def metrics():
    return [
        Ids(),
        PerBatch(),
        Accuracy(topk=(1, 2)),
        torch_metric("classification.MulticlassAccuracy", num_classes=3, average="micro"),
        torch_metric("classification.MulticlassConfusionMatrix", num_classes=3),
        torch_metric("regression.SpearmanCorrCoef", "margin", "sum"),  # lists: rows in dataset order
        torch_metric("MetricCollection", metrics=[_mean_error(), _max_error()], pred_key="margin", label_key="sum"),
        # States that are neither summed nor joined; torchmetrics joins them only where each rank has two samples.
        torch_metric("regression.PearsonCorrCoef", "margin", "sum"),
    ]


def _mean_error():
    import torchmetrics

    return torchmetrics.MeanAbsoluteError()


def _max_error():
    import torchmetrics

    return torchmetrics.regression.R2Score()


def evaluate(size, batch_size, per_sample, shuffle, collate):
    torch.manual_seed(0)
    model = Model(per_sample)
    loader = build_dataloader(
        {
            "dataset": Numbered(size),
            "sampler": {"type": "DefaultSampler", "shuffle": shuffle},
            "batch_size": batch_size,
            "collate_fn": {"type": collate},
        },
        seed=3,
    )
    runner = SimpleNamespace(ctx=RunContext("r", HookTable(None)), model=model, visualizer=SimpleNamespace())
    runner.strategy = SimpleNamespace(
        unwrapped_model=model,
        keyed=True,
        batches=iter,
        val_step=model.val_step,
        eval_losses=lambda data: model.parse_losses(model._run_forward(data, "loss"))[1],
    )
    found = metrics()[: 5 if size == 1 else None if size >= 10 else -1]  # a correlation needs two samples
    return ValLoop(runner, loader, Evaluator(found), loss=True).run()


CASES = [
    (size, batch_size, per_sample, shuffle, collate)
    for size in SIZES
    for batch_size, per_sample, shuffle, collate in (
        (1, True, False, "pseudo_collate"),
        (3, True, False, "pseudo_collate"),
        (3, False, True, "default_collate"),
        (4, False, False, "default_collate"),
        (2, True, True, "default_collate"),
    )
]


def evaluate_all():
    return [evaluate(*case) for case in CASES]


@pytest.fixture(scope="module")
def alone():
    return evaluate_all()


# Sums of floats in another order: ours in float64, torchmetrics' in float32.
FLOATS = dict.fromkeys(("loss", "loss_ce", "loss_size", "loss_square"), 1e-9)
FLOATS |= dict.fromkeys(("PearsonCorrCoef", "MeanAbsoluteError", "R2Score"), 1e-5)


@pytest.mark.parametrize("world_size", [2, 3, pytest.param(5, marks=pytest.mark.conformance)])
def test_as_many_ranks_as_you_like(world_size, alone):
    for found in run_ranks(world_size, evaluate_all, timeout_s=120):
        for case, here, there in zip(CASES, found, alone, strict=True):
            assert list(here) == list(there), case
            for name, value in there.items():
                if name in FLOATS:
                    assert here[name] == pytest.approx(value, rel=FLOATS[name]), (case, name)
                elif name != "ids/seen" or not case[3]:
                    assert here[name] == value, (case, name)


def test_what_one_process_sees(alone):
    for case, found in zip(CASES, alone, strict=True):
        assert sorted(found["ids/seen"]) == list(range(case[0]))
        assert found["batch/n"] == case[0]
        assert sum(map(sum, found["MulticlassConfusionMatrix"])) == case[0]
        # The losses of one batch are means over it: ours weigh each by its samples.
        assert found["loss"] == pytest.approx(sum(found[f"loss_{name}"] for name in ("ce", "size", "square")))


def _whole_set_loss():
    torch.manual_seed(0)
    model = Model(False).eval()
    samples = [Numbered(11)[n] for n in range(11)]
    with torch.no_grad():
        scores = model([sample["inputs"] for sample in samples])
        return float(nn.functional.cross_entropy(scores, torch.tensor([sample["label"] for sample in samples])))


def test_the_loss_is_the_mean_over_the_samples(alone):
    for case, found in zip(CASES, alone, strict=True):
        if case[0] == 11:
            assert found["loss_ce"] == pytest.approx(_whole_set_loss(), rel=1e-12)


def _padded_by_hand():
    metric = torch_metric("classification.MulticlassAccuracy", num_classes=3)
    indices = torch.tensor(list(DefaultSampler(range(5), shuffle=False)))
    metric.process(None, [{"scores": torch.eye(3)[indices % 3], "label": indices % 3}])
    try:
        metric.evaluate(5)
    except DataError as error:
        return f"{type(error).__name__}: {error}"
    return ""


def test_a_state_in_which_samples_were_repeated_is_refused():
    first, second = run_ranks(2, _padded_by_hand)
    assert first.startswith(
        "DataError: TorchMetric(MulticlassAccuracy) counted 6 predictions for a dataset of 5 samples"
    )
    assert second.startswith("DataError: TorchMetric failed on rank 0: DataError: TorchMetric(MulticlassAccuracy)")


class Counter(Ids):
    """Expensive results, to see in how many slices they travel."""

    def process(self, data_batch, data_samples):
        self.results += [(sample["id"], b"x" * 1000) for sample in data_samples]

    def compute_metrics(self, results):
        return {"order": [number for number, _ in results] == list(range(len(results))), "n": len(results)}


def _in_slices(size):
    from trainwright.dist import collectives, results

    calls = []
    gather = collectives.torch_dist.gather_object

    def counting(data, *args):
        calls.append(len(data))
        return gather(data, *args)

    collectives.torch_dist.gather_object = counting
    results.SLICE_BYTES = 5000
    metric = Counter()
    indices = list(DefaultSampler(range(size), shuffle=False, round_up=False))
    metric.process(None, [{"id": index} for index in indices])
    return metric.evaluate(size), calls


@pytest.mark.parametrize("size", [1, 23])
def test_results_travel_in_slices(size):
    for found, calls in run_ranks(2, _in_slices, size):
        assert found == {"ids/order": True, "ids/n": size}
        assert max(calls) <= 4
        assert len(calls) == (1 if size == 1 else 3)
