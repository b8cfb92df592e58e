text = 'a reserved name'
