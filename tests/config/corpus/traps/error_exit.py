import sys
ok = 1
sys.exit('enough')
