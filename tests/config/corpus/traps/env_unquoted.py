# MMEngine parses the file before it substitutes, and this is no Python then
_base_ = './plain_base.py'
workers = {{ $TW_WORKERS_UNSET:4 }}
number = {{ $TW_NUMBER:0 }} * 2
flag = {{$TW_FLAG_UNSET:False}}
model = dict(depth={{ $TW_DEPTH_UNSET:101 }}, old={{ _base_.model.depth }})
rates = [{{ $TW_RATE_UNSET:1e-3 }}, {{ $TW_NONE_UNSET:None }}]
