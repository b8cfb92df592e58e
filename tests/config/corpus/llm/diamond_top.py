from tuner.models import Top

model = dict(type=Top, parts=[dict(type=Top.Part)])
