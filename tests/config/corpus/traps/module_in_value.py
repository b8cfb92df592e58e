import json

tools = dict(json=json, dumps=json.dumps)
