from benchsuite.models import HuggingFace

models = [dict(type=HuggingFace, abbr='small-hf', path='org/small', max_out_len=100, run_cfg=dict(num_gpus=1, num_procs=1))]
