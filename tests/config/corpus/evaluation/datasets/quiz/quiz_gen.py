from mmengine.config import read_base

with read_base():
    from .quiz_gen_4baadb import quiz_datasets  # noqa: F401, F403
