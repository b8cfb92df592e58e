_base_ = ['.././base_expressions/../delete_base.py', "../folder with spaces/näme.v1.0_8xb32-2x.py"]
spaced = dict(new=1)
