a = 1
model = dict(
    type="X",
    text="""two
lines""")
_base_ = "./only_comments.py"
