# A byte-level GPT of a million parameters on the source of Python's own standard library, by iterations.
custom_imports = dict(imports=["gpt_parts.py"])

max_iters = 2000
warmup_iters = 100
block = 128  # bytes of context

model = dict(type="ByteGPT", block=block, width=128, n_layers=5, n_heads=4)

train_dataloader = dict(
    batch_size=8,
    num_workers=0,
    sampler=dict(type="InfiniteSampler", shuffle=True),
    collate_fn=dict(type="default_collate"),
    dataset=dict(type="StdlibText", split="train", block=block),
)
val_dataloader = dict(
    batch_size=32,
    num_workers=0,
    sampler=dict(type="DefaultSampler", shuffle=False),
    collate_fn=dict(type="default_collate"),
    dataset=dict(type="StdlibText", split="val", block=block, n_windows=256),
)
val_evaluator = dict(type="BitsPerByte")

# Two batches of 8 windows make one step of the optimizer.
optim_wrapper = dict(
    type="OptimWrapper",
    accumulative_counts=2,
    clip_grad=dict(max_norm=1.0),
    optimizer=dict(type="AdamW", lr=2e-3, betas=(0.9, 0.95), weight_decay=0.1),
)
param_scheduler = [
    dict(type="LinearLR", by_epoch=False, start_factor=0.01, begin=0, end=warmup_iters),
    dict(
        type="CosineAnnealingLR",
        by_epoch=False,
        begin=warmup_iters,
        end=max_iters,
        T_max=max_iters - warmup_iters,
        eta_min_ratio=0.1,
    ),
]

train_cfg = dict(by_epoch=False, max_iters=max_iters, val_interval=250)
val_cfg = dict()

default_hooks = dict(
    logger=dict(type="LoggerHook", interval=20),
    checkpoint=dict(
        type="CheckpointHook",
        by_epoch=False,
        interval=250,
        max_keep_ckpts=2,
        save_best="text/bits_per_byte",
        rule="less",
    ),
)
log_processor = dict(type="LogProcessor", by_epoch=False, window_size=20)
visualizer = dict(type="Visualizer", vis_backends=[dict(type="LocalVisBackend")])
randomness = dict(seed=0)
