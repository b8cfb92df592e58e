"""What mmengine.logging exports: loggers, histories and the message hub."""

from trainwright.compat.mmengine.mirror import mirror

__getattr__, __dir__, __all__ = mirror(
    __name__,
    {
        ".history_buffer": "HistoryBuffer",
        ".logger": "MMLogger print_log",
        ".message_hub": "MessageHub",
    },
    modules="history_buffer logger message_hub",
)
