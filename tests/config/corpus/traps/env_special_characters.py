# MMEngine makes a regular expression of the default
plus = '{{$TW_PLUS_UNSET:a+b}}'
brackets = '{{ $TW_BRACKETS_UNSET:(x)[y]*?.^$ }}'
path = '{{$TW_PATH_UNSET:/data/c++/x.y}}/z'
again = ['{{$TW_PATH_UNSET:/data/c++/x.y}}', '{{ $TW_SET:a+b }}']
