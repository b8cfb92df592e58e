a_datasets = ['a']
m_datasets = ['m']
z_datasets = ['z']
