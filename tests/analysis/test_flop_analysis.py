"""What is counted: against torch's own counter, and what MMEngine does not say."""

import logging
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from trainwright.analysis import FlopAnalyzer, JitModelAnalysis, attention_flop_jit, get_model_complexity_info
from trainwright.analysis.jit_handles import generic_activation_jit
from trainwright.base.logs import MMLogger


class Calls(nn.Module):
    def __init__(self, func):
        super().__init__()
        self.func = func

    def forward(self, *tensors):
        return self.func(*tensors)


def of_torch(model, *inputs):
    """Multiply-adds by torch's own counter, which counts each as two."""
    with FlopCounterMode(display=False) as counter:
        model(*inputs)
    return counter.get_total_flops() // 2


def quiet(model, *inputs):
    return FlopAnalyzer(model, inputs).unsupported_ops_warnings(False).uncalled_modules_warnings(False)


def tensors(*shapes):
    return [torch.randn(shape) for shape in shapes]


SAME = {
    "linear": (nn.Linear(3, 5), tensors((2, 4, 3))),
    "conv": (nn.Conv2d(4, 8, (3, 5), stride=2, padding=1, dilation=2, groups=4), tensors((2, 4, 19, 17))),
    "one convolution": (nn.Conv3d(2, 4, 3), tensors((2, 5, 6, 7))),
    "transposed": (nn.ConvTranspose2d(4, 6, 3, stride=2, padding=1, groups=2), tensors((2, 4, 7, 6))),
    "bmm": (Calls(torch.bmm), tensors((3, 4, 5), (3, 5, 6))),
    "matmul": (Calls(torch.matmul), tensors((2, 3, 4, 5), (5, 6))),
    "einsum": (Calls(lambda a, b: torch.einsum("bhid,bhjd->bhij", a, b)), tensors((2, 3, 14, 15), (2, 3, 17, 15))),
    "attention layer": (nn.MultiheadAttention(8, 2), tensors(*[(5, 2, 8)] * 3)),
}


@pytest.mark.parametrize("case", SAME)
def test_products_as_torch_counts_them(case):
    model, inputs = SAME[case]
    assert quiet(model.eval(), *inputs).total() == of_torch(model, *inputs) > 0


def test_attention_with_the_handle_for_it():
    model = Calls(F.scaled_dot_product_attention)
    inputs = tensors((1, 2, 3, 4), (1, 2, 5, 4), (1, 2, 5, 6))
    analysis = quiet(model, *inputs)
    assert analysis.total() == 0
    assert analysis.unsupported_ops() == Counter({"aten::scaled_dot_product_attention": 1})
    analysis.set_op_handle("aten::scaled_dot_product_attention", attention_flop_jit)
    assert analysis.total() == of_torch(model, *inputs) == 2 * 3 * 5 * (4 + 6)


def test_none_takes_a_default_handle_away():
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4, track_running_stats=False))
    analysis = quiet(model, torch.randn(1, 3, 5, 5))
    assert analysis.by_operator() == Counter({"conv": 300, "batch_norm": 500})
    analysis.set_op_handle("aten::batch_norm", None)
    assert analysis.by_operator() == Counter({"conv": 300})
    assert analysis.unsupported_ops() == Counter()


def test_a_copy_keeps_what_is_ignored_and_its_kind():
    analysis = quiet(nn.Linear(2, 3), torch.randn(1, 2)).set_op_handle("aten::linear", None).ancestor_mode("caller")
    copied = analysis.copy(new_inputs=(torch.randn(4, 2),))
    assert type(copied) is FlopAnalyzer
    assert (copied.total(), copied._ancestor_mode) == (0, "caller")
    assert copied.set_op_handle("aten::linear", generic_activation_jit()).total() == 12
    assert analysis.total() == 0


def test_an_answer_is_the_askers():
    analysis = quiet(nn.Linear(2, 3), torch.randn(1, 2))
    for answer in (analysis.by_operator(), analysis.by_module_and_operator()[""], analysis.by_module()):
        answer.clear()
    analysis.uncalled_modules().add("x")
    assert (analysis.total(), analysis.by_module(), analysis.uncalled_modules()) == (6, Counter({"": 6}), set())


def test_the_model_and_the_random_stream_are_as_before():
    model = nn.Sequential(nn.BatchNorm1d(3), nn.Dropout(0.5))
    before, stream = {k: v.clone() for k, v in model.state_dict().items()}, torch.get_rng_state()
    buffers = dict(model.named_buffers())
    FlopAnalyzer(model, torch.randn(4, 3, generator=torch.Generator().manual_seed(0))).total()
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(value is buffers[name] for name, value in model.named_buffers())
    assert torch.equal(torch.get_rng_state(), stream)
    assert model.training


def test_the_model_is_as_before_where_it_failed():
    model = nn.Sequential(nn.BatchNorm1d(3), nn.Linear(5, 5))
    with pytest.raises(RuntimeError, match="cannot be multiplied"):
        FlopAnalyzer(model, torch.randn(4, 3)).total()
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in model.modules())
    assert model[0].num_batches_tracked == 0


def doubled(x):
    return x * 2 + 1


@pytest.mark.filterwarnings("ignore:.*torch.jit.script:DeprecationWarning")
def test_scripted_functions_are_named():
    analysis = quiet(nn.Sequential(Calls(torch.jit.script(doubled)), nn.Linear(2, 3)), torch.randn(1, 2))
    assert analysis.total() == 6
    assert analysis.unsupported_ops() == Counter({"prim::CallFunction": 1})


@pytest.mark.filterwarnings("ignore:.*torch.jit.trace:DeprecationWarning")
@pytest.mark.parametrize("whole", [True, False])
def test_what_is_scripted_or_traced_cannot_be_traced_again(whole):
    traced = torch.jit.trace(nn.Linear(2, 2), torch.randn(1, 2))
    what = "the model is" if whole else "the module '1' is"
    with pytest.raises(RuntimeError, match=f"{what} scripted or traced by torch.jit.*made from"):
        FlopAnalyzer(traced if whole else nn.Sequential(nn.ReLU(), traced), torch.randn(1, 2)).total()


def test_what_is_logged_names_modules_and_operators():
    logger, lines = MMLogger.get_instance("flop_analysis"), []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())
    logger.addHandler(handler)
    model = nn.Sequential(nn.Sigmoid(), nn.Linear(2, 2))
    model.add_module("b", nn.Linear(1, 1))
    model.add_module("a", nn.Linear(1, 1))
    model.forward = lambda x: model[1](model[0](x))
    FlopAnalyzer(model, torch.randn(1, 2)).total()
    assert lines[0] == "Unsupported operator aten::sigmoid encountered 1 time(s)"
    assert lines[1].startswith("These modules were never called in the traced pass")
    assert lines[1].endswith("\na, b")


@pytest.mark.parametrize(
    ("ask", "kind", "message"),
    [
        (lambda a: a.total("fc.wieght"), KeyError, r"the analysed Sequential has no module 'fc.wieght'. .*by_module"),
        (lambda a: a.total("02"), KeyError, "has no module '02'"),
        (lambda a: a.by_operator(0), TypeError, r"by its name, as 'layer1.0', got a int"),
        (lambda a: a.unsupported_ops(), RuntimeError, r"nothing was counted yet: call total\(\)"),
        (lambda a: a.set_op_handle("aten::add", None, "x"), TypeError, "pairs .* got 3 arguments"),
        (lambda a: a.ancestor_mode("own"), ValueError, "ancestor_mode must be one of 'owner', 'caller', got 'own'"),
        (lambda a: a.tracer_warnings(True), ValueError, "one of 'all', 'no_tracer_warning', 'none', got True"),
        (
            lambda a: a.set_op_handle("aten::linear", lambda i, o: torch.tensor(3)).total(),
            ValueError,
            "handle of aten::linear counted 'linear' as a Tensor, .*return an int",
        ),
        (
            lambda a: a.set_op_handle("aten::linear", lambda i, o: generic_activation_jit()(i, i[2:])).total(),
            ValueError,
            "the trace has no shape|the shape of .* is not known",
        ),
    ],
)
def test_what_is_asked_wrongly(ask, kind, message):
    model = nn.Sequential(nn.Linear(2, 3, bias=False))
    with pytest.raises(kind, match=message):
        ask(quiet(model, torch.randn(1, 2)))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "either input_shape or inputs of the model, got neither"),
        ({"input_shape": (2,), "inputs": torch.ones(1, 2)}, "got both"),
        ({"input_shape": [2]}, r"must be a tuple of ints, as \(3, 224, 224\), .* got \[2\]"),
    ],
)
def test_inputs_that_cannot_be_drawn(given, message):
    with pytest.raises(ValueError, match=message):
        get_model_complexity_info(nn.Linear(2, 3), **given)


def test_what_a_table_needs_leaves_the_settings_alone():
    from trainwright.analysis import complexity_stats_table

    analysis = FlopAnalyzer(nn.Linear(2, 3), torch.randn(1, 2)).tracer_warnings("all").uncalled_modules_warnings(False)
    assert "linear" not in complexity_stats_table(analysis)
    assert analysis._warn_trace == "all"
    assert (analysis._enable_warn_unsupported_ops, analysis._enable_warn_uncalled_mods) == (True, False)


def test_a_model_without_parameters():
    from trainwright.analysis import parameter_count_table

    info = get_model_complexity_info(Calls(lambda x: x @ x.T), input_shape=(3,), show_arch=False)
    assert (info["flops"], info["params"]) == (3, 0)
    assert "| model | 0 " in parameter_count_table(nn.ReLU())


def test_no_handles_by_itself():
    analysis = JitModelAnalysis(nn.Linear(2, 3), torch.randn(1, 2)).unsupported_ops_warnings(False)
    assert (analysis.total(), analysis.unsupported_ops()) == (0, Counter({"aten::linear": 1}))


def test_the_room_costs_nothing_until_it_is_used():
    code = (
        "import sys, trainwright.analysis as a; assert 'torch' not in sys.modules; assert 'FlopAnalyzer' in dir(a)\n"
        "try: a.flops\nexcept AttributeError as e: print(e)"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert shown.startswith("module 'trainwright.analysis' has no attribute 'flops'; it has ActivationAnalyzer, ")


def test_the_table_on_the_page(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "90")
    page = (Path(__file__).parents[2] / "docs" / "analysis.md").read_text(encoding="utf-8")
    program, table = (re.search(rf"```{kind}\n(.*?)```", page, re.DOTALL)[1] for kind in ("python", "text"))
    exec(compile(program, "docs/analysis.md", "exec"), {})
    numbers, shown = capsys.readouterr().out.split("\n\n", 1)
    assert f"  # {numbers}\n" in program
    assert shown.rstrip() == table.rstrip()
