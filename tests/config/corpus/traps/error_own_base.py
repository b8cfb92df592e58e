_base_ = '{{ fileBasename }}'
