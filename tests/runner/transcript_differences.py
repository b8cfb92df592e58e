"""Compares the transcripts of two engines; what may differ is listed here, each with its row in docs/differences.md."""

from math import isclose

OWN_PARTS = {"hooks", "rng", "loader", "gradients", "accumulation"}
# The names of what may differ, with a piece of the row that says so.
ROWS = {
    "memory": "`memory` in the log line is the peak resident size when training on a CPU",
    "late scalars": "The learning rate and `data_time` are put into the message hub in `after_train_iter`",
    "hub counters": "`epoch`, `iter` and `eta` in the message hub are those of the run whenever they are read",
    "checkpoint parts": "Schedulers, optimizer and best values keep MMEngine's layouts and names, beside our own",
    "last epoch": "When iteration-based training has ended, `runner.epoch` is 1",
    "unbuilt loop": "Reading `runner.max_epochs` or `max_iters` builds no training loop",
    "deleted later": "A new file is written under a temporary name, synced and renamed; old ones are deleted after",
    "best alone": "A new best writes no regular checkpoint besides",
    "name in iterations": "In iteration-based training the iteration that ends the first pass over the loader is",
    "iter of validation": "Scalars of a validation also have `iter`",
    "step of validation": "the step of a validation is the iteration",
    "newest metric": "Metrics of an evaluation are shown as they are",
    "kept prefix": "Scalars of an evaluation keep `val/` where training logs the same name",
    "loss while validating": "A hook's `val/loss` is shown in the progress lines of a validation",
}


def flat(tree, prefix=""):
    """The leaves of nested dicts by their dotted path; empty dicts have none."""
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def same(one, other):
    """Equality but for the rounding of numbers."""
    if isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, float) and isinstance(other, float):
        return isclose(one, other, rel_tol=1e-9, abs_tol=1e-12)
    return one == other


class Comparison:
    """``unlisted``: differences that no row explains; ``used``: names of the rows that explained one."""

    def __init__(self, ours, theirs):
        self.ours, self.theirs = ours, theirs
        self.unlisted, self.used = [], set()
        self.batch_idx, self.event, self.in_training = None, None, False
        self._records()
        self._scalars()
        for name in ("hooks", "returned", "end"):
            self._leaves(name, {name: getattr(ours, name)}, {name: getattr(theirs, name)})
        if list(ours.weights) != list(theirs.weights) or not all(
            value.equal(theirs.weights[name]) for name, value in ours.weights.items()
        ):
            self.unlisted.append(("weights", ours.weights, theirs.weights))

    def _records(self):
        waiting = list(reversed(self.ours.records))
        for theirs in self.theirs.records:
            mine = waiting[-1] if waiting else None
            if mine is None or self._label(mine) != self._label(theirs):
                if self._is_left_out(theirs):
                    continue
                self.unlisted.append(("order", mine and self._label(mine), self._label(theirs)))
                return
            waiting.pop()
            if "event" in theirs and theirs["event"] != "before_save_checkpoint":
                self.event, self.batch_idx = theirs["event"], theirs.get("arguments", {}).get("batch_idx")
            self._leaves(self._label(mine), mine, theirs)
        if waiting:
            self.unlisted.append(("order", self._label(waiting[-1]), None))

    @staticmethod
    def _label(record):
        return ("log", record["log"]["text"]) if "log" in record else (record["event"], record["at"])

    def _is_left_out(self, theirs):
        """Whether a record of theirs is one of those that we leave out."""
        if theirs.get("event") == "before_save_checkpoint" and self.event == "after_val_epoch":
            return self._use("best alone")
        ends_pass = self.event == "after_train_iter" and self.batch_idx == (self.theirs.n_batches or 0) - 1
        is_line = "log" in theirs and theirs["log"]["text"].startswith(("Exp name", "Iter(train)", "Epoch(train)"))
        return is_line and ends_pass and self.theirs.counts_iterations and self._use("name in iterations")

    def _use(self, name):
        self.used.add(name)
        return True

    def _leaves(self, where, mine, theirs):
        one, other = dict(flat(mine)), dict(flat(theirs))
        for key in {**one, **other}:
            a, b = one.get(key), other.get(key)
            if (key in one) != (key in other) or not same(a, b):
                name = next((name for name in RULES if RULES[name](self, key, a, b, mine, theirs)), None)
                if name is None:
                    self.unlisted.append((where, key, a, b))
                else:
                    self.used.add(name)

    def _scalars(self):
        ours, theirs = self.ours.scalars, self.theirs.scalars
        if list(ours) != list(theirs):
            self.unlisted.append(("files", list(ours), list(theirs)))
            return
        for file, lines in theirs.items():
            mine = list(ours[file])
            for line in lines:
                if (
                    not mine
                    or ("lr" in line) != ("lr" in mine[0])
                    or ("lr" in line and line.get("iter") != mine[0].get("iter"))
                ):
                    if self.theirs.counts_iterations and line.get("iter") == self.theirs.n_batches:
                        self.used.add("name in iterations")
                        continue
                    self.unlisted.append((file, mine[:1], line))
                    return
                self._leaves(file, {"line": mine.pop(0)}, {"line": line})
            if mine:
                self.unlisted.append((file, mine[0], None))


def _memory(found, key, a, b, mine, theirs):
    if key == "log.names":
        return [name for name in a if name != "memory"] == b
    return key in ("log.items.memory", "line.memory") and b is None and "memory" not in theirs.get("line", {})


def _late_scalars(found, key, a, b, mine, theirs):
    name = key.removeprefix("scalars.")
    if name == key or not name.endswith(("lr", "/data_time")):
        return False
    mode = name.partition("/")[0]
    until = ("HIGHEST",) if name.endswith("lr") else ("HIGHEST", "VERY_HIGH", "HIGH", "ABOVE_NORMAL")
    is_before = mine["event"] == f"before_{mode}_iter" or (
        mine["event"] == f"after_{mode}_iter" and mine["at"] in until
    )
    return is_before and b[0] == (a[0] if a else 0) + 1


def _hub_counters(found, key, a, b, mine, theirs):
    if key == "has":
        return set(a) ^ set(b) == {"eta"}
    return key in ("infos.epoch", "infos.iter") and a == mine[key.partition(".")[2]]


def _checkpoint_parts(found, key, a, b, mine, theirs):
    return key == "arguments.checkpoint.keys" and set(b) <= set(a) and set(a) - set(b) <= OWN_PARTS


def _best_is_whole(found, key, a, b, mine, theirs):
    if key != "arguments.checkpoint.keys" or found.event != "after_val_epoch":
        return False
    return set(b) <= set(a) and set(a) - set(b) <= OWN_PARTS | {"optimizer", "param_schedulers"}


def _last_epoch(found, key, a, b, mine, theirs):
    last = ("epoch", "loop.epoch", "infos.epoch", "end.epoch")
    return found.ours.counts_iterations and key in last and (a, b) == (1, 0)


def _unbuilt_loop(found, key, a, b, mine, theirs):
    if "loop" in mine or "event" not in mine:
        return False
    return (key in ("max_epochs", "max_iters") and a is None) or key.startswith("loop.")


def _deleted_later(found, key, a, b, mine, theirs):
    is_saving = key == "files.checkpoints" and mine["event"] == "before_save_checkpoint"
    return is_saving and set(b) < set(a) and len(a) == len(b) + 1


def _iter_of_validation(found, key, a, b, mine, theirs):
    return key == "line.iter" and b is None and "lr" not in mine["line"]


def _step_of_validation(found, key, a, b, mine, theirs):
    line = mine.get("line", {})
    return found.ours.counts_iterations and key == "line.step" and "lr" not in line and (a, b) == (line["iter"], 0)


def _newest_metric(found, key, a, b, mine, theirs):
    """Only of a metric that is called a loss; theirs is a mean."""
    return key in ("line.toy/loss", "log.items.toy/loss") and None not in (a, b)


def _kept_prefix(found, key, a, b, mine, theirs):
    if key == "log.names":
        return [name.removeprefix("val/") for name in a if name != "memory"] == b
    return (key in ("line.loss", "log.items.loss") and a is None) or (
        key in ("line.val/loss", "log.items.val/loss") and b is None
    )


def _loss_while_validating(found, key, a, b, mine, theirs):
    if mine.get("event") is not None or not mine.get("log", {}).get("text", "").startswith("Epoch(val)"):
        return False
    if key == "log.names":
        return [name for name in a if name != "memory" and "loss" not in name] == b
    return key.startswith("log.items.") and "loss" in key and b is None


RULES = {
    "memory": _memory,
    "late scalars": _late_scalars,
    "hub counters": _hub_counters,
    "checkpoint parts": _checkpoint_parts,
    "best alone": _best_is_whole,
    "last epoch": _last_epoch,
    "unbuilt loop": _unbuilt_loop,
    "deleted later": _deleted_later,
    "iter of validation": _iter_of_validation,
    "step of validation": _step_of_validation,
    "newest metric": _newest_metric,
    "loss while validating": _loss_while_validating,
    "kept prefix": _kept_prefix,
}
