"""Which line set a value: the files of a config are read again, statement by statement, and not run."""

from trainwright.config.origins.lines import Origin
from trainwright.config.origins.provenance import origins, references, trace

__all__ = ["Origin", "origins", "references", "trace"]
