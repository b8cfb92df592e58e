ok = 1
filename = 'a reserved name'
