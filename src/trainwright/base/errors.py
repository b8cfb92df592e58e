"""The error tree. A message says the value found, the rule it breaks and the knob to turn.

Each type also inherits the built-in that a caller of the older engines would catch, so `except KeyError` around a
registry and `except TypeError` around a build keep working.
"""

from __future__ import annotations


class TrainwrightError(Exception):
    """Base of all errors that a user can cause and mend."""


class ConfigError(TrainwrightError, ValueError):
    """A config that cannot be read, or that cannot be run. `filename` and `lineno` are set where they are known."""

    def __init__(self, message: str, filename: str | None = None, lineno: int | None = None) -> None:
        where = "" if filename is None else filename if lineno is None else f"{filename}:{lineno}"
        super().__init__(f"{where}: {message}" if where else message)
        self.filename = filename
        self.lineno = lineno

    def __reduce__(self) -> tuple[object, ...]:
        # The message already holds the place; rebuilding through __init__ would write it twice.
        return _rebuild, (type(self), self.args[0], self.filename, self.lineno)


class ConfigTypeError(ConfigError, TypeError):
    """A value of the wrong type, or a wrong argument for the class that `type` names."""


class ConfigNotFoundError(ConfigError, FileNotFoundError):
    """A config file, or a base that a config names, which does not exist."""

    def __str__(self) -> str:
        return str(self.args[0])  # OSError would print errno and filename instead of the message


class ConfigKeyError(ConfigError, KeyError):
    """A key, an index or a variable that is missing, taken, or there twice."""

    def __str__(self) -> str:
        return str(self.args[0])  # KeyError would print the repr of the message


class DeviceNameError(ConfigError, NotImplementedError):
    """A kind of device that a function has no way of working on."""


class ConfigFormatError(ConfigError, OSError):
    """A format that configs do not have."""

    def __str__(self) -> str:
        return str(self.args[0])


class ConfigSyntaxError(ConfigError, SyntaxError):
    """A config that is no valid Python."""

    def __init__(self, message: str, filename: str | None = None, lineno: int | None = None) -> None:
        super().__init__(message, filename, lineno)
        self.msg = str(self.args[0])  # what a traceback shows

    def __str__(self) -> str:
        return str(self.args[0])


class RuleError(ConfigError, AssertionError):
    """A value that the older engines refuse by an assertion."""


class RuleTypeError(RuleError, ConfigTypeError):
    """A value of a wrong type, which the older engines refuse by an assertion or a TypeError."""


class MissingPartError(ConfigError, RuntimeError):
    """A runner is asked for what it was made without, or a part names two ways in which it is to be made."""


class MissingMetricError(ConfigError, RuntimeError, KeyError):
    """A metric that a hook watches, and a validation does not give."""

    def __str__(self) -> str:
        return str(self.args[0])  # KeyError would print the repr of the message


class NameTakenError(ConfigError, RuntimeError):
    """Two parts of a run have one name."""


class LazyCallError(ConfigError, RuntimeError):
    """What a config names is called before it is imported."""


class CustomImportError(ConfigError, ImportError):
    """A module named in `custom_imports` that cannot be imported."""


class RegistryError(TrainwrightError, KeyError):
    """An unknown name, or a name registered twice."""

    def __str__(self) -> str:
        # KeyError prints the repr of its argument, which would show a multi-line message as one line of "\n".
        return str(self.args[0]) if self.args else ""


class FunctionNameError(RegistryError, ConfigTypeError):
    """A name that no function has, where a function is asked for."""


class ScopeTakenError(RegistryError, AssertionError):
    """A second child registry of one scope."""


class InstanceNameError(TrainwrightError, ValueError, TypeError, AssertionError):
    """A name under which no instance of a class can be kept, or a class whose constructor takes none."""


class BuildError(TrainwrightError):
    """An object could not be built although its description is well formed."""


class HookError(TrainwrightError, ValueError):
    """A hook that cannot be registered, or a hook point that does not exist."""


class PriorityNameError(HookError, KeyError):
    """A name that no priority has."""

    def __str__(self) -> str:
        return str(self.args[0])  # KeyError would print the repr of the message


class CheckpointError(TrainwrightError, RuntimeError):
    """A checkpoint that is missing, incomplete or foreign, or that cannot be written."""


class CheckpointNotFoundError(CheckpointError, FileNotFoundError):
    """A checkpoint that does not exist."""

    def __str__(self) -> str:
        return str(self.args[0])  # OSError would print errno and filename instead of the message


class SaveError(CheckpointError):
    """A checkpoint that the storage did not take (full, failing, not allowed). The training that it is of can go on."""


class DataError(TrainwrightError, RuntimeError):
    """A dataset, sampler or collate function that failed; names the sample."""


class DataNotFoundError(DataError, FileNotFoundError):
    """A file of a dataset that does not exist."""

    def __str__(self) -> str:
        return str(self.args[0])


class DataRuleError(DataError, AssertionError):
    """Data that the older engines refuse by an assertion."""


class NonFiniteLossError(TrainwrightError, FloatingPointError):
    """A loss became NaN or infinite."""


class LossSpikeError(TrainwrightError, ArithmeticError):
    """A loss lay far above those before it."""


class RankError(TrainwrightError, RuntimeError):
    """Another process of the run failed; has its rank and its traceback."""


class DesyncError(RankError):
    """The ranks of a run hold different weights."""


class EventStorageError(TrainwrightError, AssertionError):
    """An event storage used against its rules: asked for where none is open, or a scalar put in two ways."""


class EvalModeError(TrainwrightError, AssertionError):
    """A model that is to be trained was found in eval mode."""


class EvalResultError(TrainwrightError, ValueError, AssertionError):
    """What an evaluation function returned is no dict of numbers."""


class UnknownMetricError(TrainwrightError, KeyError):
    """A metric of which there is no value yet."""

    def __str__(self) -> str:
        return str(self.args[0])  # KeyError would print the repr of the message


class UnknownModuleError(TrainwrightError, KeyError):
    """A module that a model does not have."""

    def __str__(self) -> str:
        return str(self.args[0])  # KeyError would print the repr of the message


class ModuleNameError(TrainwrightError, TypeError, AssertionError):
    """Something else than a name where a module of a model is asked for by name."""


class LocalGroupError(TrainwrightError, RuntimeError):
    """A question about the processes of this machine, before it was said which they are."""


class UnsupportedOperationError(TrainwrightError, NotImplementedError, AttributeError):
    """Something that a storage cannot do."""


class WorkDirError(TrainwrightError, OSError):
    """A work directory that cannot be created or written."""


class WorkDirLockedError(WorkDirError):
    """Another run works in this work directory."""


class MissingExtraError(TrainwrightError, ImportError):
    """An optional package that is not installed; names the extra that brings it."""


class NoScreenError(TrainwrightError, ImportError):
    """Something is to be shown, and there is no screen."""


class Interrupted(KeyboardInterrupt):
    """Training stopped on request at an iteration boundary. `checkpoint` is the path to resume from, if one was
    saved; `exit_code` is what a program that it ends exits with.
    """

    def __init__(self, message: str = "", checkpoint: str | None = None, exit_code: int = 130) -> None:
        super().__init__(message)
        self.checkpoint = checkpoint
        self.exit_code = exit_code


class Preempted(Interrupted):
    """Training stopped because its time or its machine is taken away: it is to be started again, and goes on."""

    def __init__(self, message: str = "", checkpoint: str | None = None, exit_code: int = 75) -> None:
        super().__init__(message, checkpoint, exit_code)


def demand(holds: object, message: str) -> None:
    """Raise RuleError with `message` unless the rule `holds`."""
    if not holds:
        raise RuleError(message)


def add_note(error: BaseException, note: str) -> None:
    """Attach context to an error without changing its type; shown below the message in a traceback."""
    if hasattr(error, "add_note"):
        error.add_note(note)
    elif error.args and isinstance(error.args[0], str):  # Python 3.10 has no notes
        error.args = (f"{error.args[0]}\n{note}", *error.args[1:])


def _rebuild(cls: type[ConfigError], message: str, filename: str | None, lineno: int | None) -> ConfigError:
    error = cls(message)
    error.filename, error.lineno = filename, lineno
    return error
