"""mmengine.analysis.print_helper: how the numbers are shown, with the private names that it has there."""

from trainwright.analysis.report import complexity_stats_str, complexity_stats_table, get_model_complexity_info
from trainwright.analysis.statistics import fastforward as _fastforward
from trainwright.analysis.statistics import fill_missing_statistics as _fill_missing_statistics
from trainwright.analysis.statistics import get_input_sizes as _get_input_sizes
from trainwright.analysis.statistics import get_single_child as _get_single_child
from trainwright.analysis.statistics import group_by_module as _group_by_module
from trainwright.analysis.statistics import indicate_uncalled_modules as _indicate_uncalled_modules
from trainwright.analysis.statistics import model_stats_str as _model_stats_str
from trainwright.analysis.statistics import pretty_statistics as _pretty_statistics
from trainwright.analysis.statistics import remove_zero_statistics as _remove_zero_statistics
from trainwright.analysis.statistics import stats_table_format as _stats_table_format
from trainwright.analysis.statistics import try_combine as _try_combine
from trainwright.analysis.tables import format_size as _format_size

__all__ = [
    "_fastforward",
    "_fill_missing_statistics",
    "_format_size",
    "_get_input_sizes",
    "_get_single_child",
    "_group_by_module",
    "_indicate_uncalled_modules",
    "_model_stats_str",
    "_pretty_statistics",
    "_remove_zero_statistics",
    "_stats_table_format",
    "_try_combine",
    "complexity_stats_str",
    "complexity_stats_table",
    "get_model_complexity_info",
]
