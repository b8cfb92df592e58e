# A small CNN on scikit-learn's digits: 99 % and more on the test scans after some ten seconds on two cores.
custom_imports = dict(imports=["digits_parts.py"])

max_epochs = 20

model = dict(type="DigitsCNN", width=32)

train_dataloader = dict(
    batch_size=64,
    num_workers=0,
    sampler=dict(type="DefaultSampler", shuffle=True),
    collate_fn=dict(type="default_collate"),
    dataset=dict(
        type="Digits",
        split="train",
        pipeline=[
            dict(type="RandomAffine", degrees=12, scale=0.12, shift=1.0),
            dict(type="GaussianNoise", std=0.03),
            dict(type="ToTensor"),
        ],
    ),
)
val_dataloader = dict(
    batch_size=120,
    num_workers=0,
    sampler=dict(type="DefaultSampler", shuffle=False),
    collate_fn=dict(type="default_collate"),
    dataset=dict(type="Digits", split="test", pipeline=[dict(type="ToTensor")]),
)
test_dataloader = val_dataloader

val_evaluator = dict(type="Accuracy")
test_evaluator = val_evaluator

optim_wrapper = dict(optimizer=dict(type="AdamW", lr=3e-3, weight_decay=0.02))
# Two epochs of warm-up, then a cosine; both in epochs here, and stepped every iteration.
param_scheduler = [
    dict(type="LinearLR", start_factor=0.05, begin=0, end=2, convert_to_iter_based=True),
    dict(type="CosineAnnealingLR", begin=2, end=max_epochs, T_max=max_epochs - 2, convert_to_iter_based=True),
]

train_cfg = dict(by_epoch=True, max_epochs=max_epochs, val_interval=1)
# The model's own losses on the test scans too, as val/loss.
val_cfg = dict(loss=True)
test_cfg = dict(loss=True)

default_hooks = dict(
    logger=dict(type="LoggerHook", interval=10),
    checkpoint=dict(type="CheckpointHook", interval=1, max_keep_ckpts=2, save_best=["accuracy/top1", "loss"]),
)
# Validation, test and the saved weights use an average over the last 100 iterations or so.
custom_hooks = [dict(type="EMAHook", momentum=0.01)]
visualizer = dict(type="Visualizer", vis_backends=[dict(type="LocalVisBackend")])
randomness = dict(seed=0)
