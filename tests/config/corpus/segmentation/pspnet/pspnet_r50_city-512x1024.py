_base_ = [
    '../_base_/models/encoder_decoder.py', '../_base_/datasets/city.py',
    '../_base_/schedules/schedule_40k.py'
]
crop_size = (512, 1024)
data_preprocessor = dict(size=crop_size)
model = dict(data_preprocessor=data_preprocessor)
