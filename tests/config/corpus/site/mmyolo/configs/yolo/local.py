model = dict(type='FromConfigsFolder', head=dict(type='Head'))
