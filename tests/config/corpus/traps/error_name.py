ok = 1
value = not_defined + 1
