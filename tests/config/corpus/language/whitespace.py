if True:
	tabbed = 1
	if tabbed:
			more = 2
spaces   =   [ 1 ,2,   3 ]   ;  semicolon = 1 ;
backslash = 1 + \
    2
brackets = [
    1,

    # comment inside

    2,
]; after = 3
def one_line(): return 1
got = one_line()
trailing = dict(a=1,)    
