"""Small helpers that need torch. Each lies in a module of its own: import it from there.

``collect_env``, ``misc``, ``parrots_wrapper`` (names of torch's classes), ``setup_env``, ``time_counter``,
``torch_ops``, ``trace``.
"""
