ok = 1
value = '{{ $TW_NOWHERE: }}'
