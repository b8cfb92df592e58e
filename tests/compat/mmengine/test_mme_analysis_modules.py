"""mmengine.analysis: which module what is counted for, settings, and what is logged."""

import logging
import warnings
from collections import Counter

import pytest
import torch
from torch import nn
from torch.jit import TracerWarning

pytestmark = pytest.mark.usefixtures("mmengine")


class Inner(nn.Module):
    """Flops: fc 100, conv 60 for an input (N, 10)."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv1d(10, 6, 1)
        self.fc = nn.Linear(6, 10)

    def forward(self, x):
        return self.fc(self.conv(x.unsqueeze(2)).squeeze(2))


class Nested(nn.Module):
    """A convolution, and Inner in a module inside."""

    input_shape = (1, 10)

    def __init__(self):
        super().__init__()
        self.submod = nn.Sequential(Inner(), nn.ReLU())
        self.fc = nn.Linear(10, 10)

    def forward(self, x):
        return self.fc(self.submod(x)) + 1


NESTED = {
    "": Counter({"linear": 160, "conv": 60, "add": 0}),
    "submod": Counter({"conv": 60, "linear": 60}),
    "submod.0": Counter({"conv": 60, "linear": 60}),
    "submod.0.conv": Counter({"conv": 60}),
    "submod.0.fc": Counter({"linear": 60}),
    "submod.1": Counter(),
    "fc": Counter({"linear": 100}),
}


class NotCalled(nn.Module):
    """fc is not used, and conv only by its forward."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(10, 10)
        self.conv = nn.Conv1d(10, 10, 1)
        self.idle = nn.Identity()
        self.parts = nn.ModuleList([nn.Linear(10, 1)])

    def forward(self, x):
        return self.idle(self.parts[0](self.conv.forward(x.unsqueeze(2)).squeeze(2)))


class Shared(nn.Module):
    """One linear layer in two modules, and called by both."""

    def __init__(self):
        super().__init__()
        shared = nn.Linear(10, 10)
        self.one = nn.Sequential(shared)
        self.other = nn.Sequential(nn.Sequential(shared), nn.Linear(10, 10))

    def forward(self, x):
        return self.other(self.one(x))


class OfAnother(nn.Module):
    """Calls a module that is another's."""

    def __init__(self):
        super().__init__()
        self.owner = nn.Sequential(nn.Linear(10, 10))
        self.caller = Caller(self.owner[0])

    def forward(self, x):
        return self.caller(x)


class Caller(nn.Module):
    """Has a module that it does not own."""

    def __init__(self, layer):
        super().__init__()
        self.own = nn.Linear(10, 10)
        self.call = lambda x: layer(x)

    def forward(self, x):
        return self.own(self.call(x))


class Warns(nn.Module):
    """The tracer warns of it, and it warns itself. fc1 is not called."""

    def __init__(self):
        super().__init__()
        self.fc1 = nn.Linear(4, 4)
        self.fc2 = nn.Linear(4, 4)

    def forward(self, x):
        y = self.fc2(x)
        if x.sum() > -1e9:
            warnings.warn("a warning of the model", RuntimeWarning, stacklevel=2)
            y = y + 1
        return y


def flops_of(model, *inputs):
    from mmengine.analysis import FlopAnalyzer

    return FlopAnalyzer(model, inputs or (torch.randn(1, 10),))


def test_by_module_and_operator():
    analysis = flops_of(Nested())
    assert {name: dict(counts) for name, counts in analysis.by_module_and_operator().items()} == {
        name: dict(+counts) for name, counts in NESTED.items()
    }
    for name, counts in NESTED.items():
        assert analysis.by_operator(name) == +counts
        assert analysis.total(name) == sum(counts.values())
    assert analysis.by_module() == Counter({name: sum(counts.values()) for name, counts in NESTED.items()})
    assert analysis.total() == analysis.by_module()[""] == 220


def test_a_tensor_is_an_input():
    from mmengine.analysis import FlopAnalyzer

    assert FlopAnalyzer(nn.Linear(3, 4), torch.randn(2, 3)).total() == 24


def test_modules_that_are_not_called():
    analysis = flops_of(NotCalled())
    assert analysis.uncalled_modules() == {"fc", "conv", "idle"}
    assert analysis.by_module()["conv"] == 0
    assert analysis.total() == 110  # what ran by forward() counts for the module around


def test_a_shared_module_goes_by_its_first_name():
    analysis = flops_of(Shared())
    assert analysis.canonical_module_name("other.0.0") == "one.0"
    assert analysis.total("other.0.0") == analysis.total("one.0") == 200
    assert analysis.by_operator("other.0.0") == Counter({"linear": 200})
    assert "other.0.0" not in analysis.by_module()
    assert analysis.total() == 300


def test_ancestors_are_owners_or_callers():
    owner = flops_of(Shared())
    assert owner.by_module() == Counter({"": 300, "one": 200, "one.0": 200, "other": 100, "other.1": 100, "other.0": 0})
    caller = flops_of(Shared()).ancestor_mode("caller")
    assert caller.by_module() == Counter(
        {"": 300, "one": 100, "one.0": 200, "other": 200, "other.0": 100, "other.1": 100}
    )
    other = flops_of(OfAnother())
    assert (other.total("owner"), other.total("caller")) == (100, 100)
    other = flops_of(OfAnother()).ancestor_mode("caller")
    assert (other.total("owner"), other.total("caller"), other.total()) == (0, 200, 200)


def test_a_wrapper_for_several_devices():
    analysis = flops_of(nn.DataParallel(Nested()))
    assert analysis.total() == analysis.total("module") == 220
    assert analysis.total("module.submod.0.conv") == 60
    assert analysis.uncalled_modules() == set()


def test_operators_that_are_not_supported():
    analysis = flops_of(Nested())
    analysis.total()
    assert analysis.unsupported_ops() == Counter({"aten::add": 1})
    assert analysis.unsupported_ops("submod") == Counter()


def test_they_are_known_after_a_count():
    with pytest.raises(RuntimeError):
        flops_of(Nested()).unsupported_ops()


def test_handles_are_set_by_pairs_and_by_keywords():
    from mmengine.analysis.jit_handles import addmm_flop_jit

    analysis = flops_of(Nested())
    assert analysis.total() == 220
    assert analysis.set_op_handle("aten::add", lambda i, o: 10) is analysis
    assert analysis.total() == 230
    assert analysis.by_operator() == Counter({"linear": 160, "conv": 60, "add": 10})
    analysis.set_op_handle("aten::add", lambda i, o: Counter({"plus": 1}), **{"aten::linear": lambda i, o: 7})
    assert analysis.by_operator() == Counter({"conv": 60, "linear": 14, "plus": 1})
    analysis.clear_op_handles()
    assert analysis.total() == 0
    assert analysis.unsupported_ops() == Counter({"aten::linear": 2, "aten::_convolution": 1, "aten::add": 1})
    assert analysis.set_op_handle("aten::addmm", addmm_flop_jit).total() == 0


def test_an_operator_can_be_ignored():
    analysis = flops_of(Nested()).set_op_handle("aten::add", None)
    analysis.total()
    assert analysis.unsupported_ops() == Counter()


def test_an_odd_number_of_arguments():
    with pytest.raises(TypeError):
        flops_of(Nested()).set_op_handle("aten::add")


def test_a_count_must_be_wide():
    with pytest.raises(ValueError, match="overflow"):
        flops_of(Nested()).set_op_handle("aten::linear", lambda i, o: torch.ones(()).numpy().sum()).total()


@pytest.mark.parametrize("name", ["fc1", "submod.2"])
def test_a_name_that_is_not_there(name):
    with pytest.raises(KeyError):
        flops_of(Nested()).total(name)


def test_a_module_is_no_name():
    model = Nested()
    with pytest.raises(AssertionError):
        flops_of(model).total(model.fc)


@pytest.mark.parametrize("method", ["ancestor_mode", "tracer_warnings"])
def test_modes(method):
    with pytest.raises(ValueError, match="other"):
        getattr(flops_of(Nested()), method)("other")


def test_a_copy_has_the_settings_and_is_another():
    analysis = flops_of(Nested()).set_op_handle("aten::add", lambda i, o: 1)
    analysis.unsupported_ops_warnings(False).tracer_warnings("none")
    one = analysis.copy()
    other = analysis.copy(new_model=NotCalled(), new_inputs=(torch.randn(2, 10),))
    assert (one.total(), analysis.total(), other.total()) == (221, 221, 220)
    assert one._op_handles == analysis._op_handles
    assert (one._enable_warn_unsupported_ops, one._warn_trace) == (False, "none")
    one.unsupported_ops_warnings(True).tracer_warnings("all")
    one.set_op_handle("aten::add", lambda i, o: 2)
    assert (one.total(), analysis.total()) == (222, 221)
    assert (analysis._enable_warn_unsupported_ops, analysis._warn_trace) == (False, "none")


def test_warnings_of_the_tracer():
    analysis = flops_of(Warns(), torch.randn(1, 4)).unsupported_ops_warnings(False).uncalled_modules_warnings(False)

    def categories(mode):
        analysis.tracer_warnings(mode)
        analysis._stats = None
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            analysis.total()
        return {warning.category for warning in caught} & {TracerWarning, RuntimeWarning}

    assert categories("all") == {TracerWarning, RuntimeWarning}
    assert categories("no_tracer_warning") == {RuntimeWarning}
    assert categories("none") == set()


@pytest.mark.parametrize("unsupported", [True, False])
@pytest.mark.parametrize("uncalled", [True, False])
def test_what_is_logged(unsupported, uncalled):
    from mmengine.logging import MMLogger

    logger = MMLogger.get_instance(f"analysis_{unsupported}_{uncalled}")
    lines = []
    logger.addHandler(Lines(lines))
    analysis = flops_of(Warns(), torch.randn(1, 4)).tracer_warnings("none")
    analysis.unsupported_ops_warnings(unsupported).uncalled_modules_warnings(uncalled)
    analysis.total()
    text = "\n".join(lines)
    assert ("Unsupported operator aten::add encountered 1 time(s)" in text) is unsupported
    assert ("never called" in text) is uncalled
    assert ("fc1" in text) is uncalled
    assert "fc2" not in text
    analysis.total()
    assert "\n".join(lines) == text  # once, and not for every question


class Lines(logging.Handler):
    """Collects messages."""

    def __init__(self, lines):
        super().__init__()
        self.lines = lines

    def emit(self, record):
        self.lines.append(record.getMessage())


def test_modules_without_operators_that_nobody_misses():
    from mmengine.logging import MMLogger

    lines = []
    MMLogger.get_instance("analysis_containers").addHandler(Lines(lines))
    model = nn.Module()
    model.parts, model.named, model.idle = nn.ModuleList([nn.Linear(2, 2)]), nn.ModuleDict(), nn.Identity()
    model.__class__ = type("Held", (nn.Module,), {"forward": lambda self, x: self.idle(self.parts[0](x))})
    analysis = flops_of(model, torch.randn(1, 2))
    assert analysis.total() == 4
    assert analysis.uncalled_modules() == {"named", "idle"}
    assert lines == []


def test_hooks_are_gone_afterwards():
    model = Nested()
    flops_of(model).total()
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in model.modules())
