_base_ = '{{ fileDirname }}/../_base_/default_runtime.py'
folder = '{{ fileDirname }}'
name = '{{fileBasename}}'
stem = "{{   fileBasenameNoExtension}}"
suffix = '''{{ fileExtname }}'''
joined = 'out/{{ fileBasenameNoExtension }}_{{ fileExtname }}/{{fileBasename}}'
# also in comments: {{ fileBasename }}
quoted = {{'$TW_WORKERS_UNSET:5'}}
double_quoted = {{"$TW_WORKERS_UNSET:5.5"}}
some_text = '{{ $TW_TEXT_UNSET:some/default }}'
from_environment = '{{$TW_SET:nothing}}'
number_from_environment = {{'$TW_NUMBER:0'}}
two = ['{{$TW_SET:x}}-{{$TW_NUMBER:0}}', '{{$TW_OTHER_UNSET:/data/coco}}/train/']
spaced = '{{  $TW_SPACED_UNSET : default  }}'
flag = {{"$TW_FLAG_UNSET:True"}}
listed = [{{'$TW_A_UNSET:1'}}, {{'$TW_B_UNSET:None'}}, '{{"$TW_C_UNSET:c"}}']
scope = {{ _base_.default_scope }}
both = dict(scope={{_base_.default_scope}}, where='{{ fileBasename }}', n={{'$TW_NUMBER:0'}})
