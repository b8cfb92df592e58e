ok = 1
  indented = 2
