"""pspnet.py without random transforms: MMEngine draws for the batches that it drops when it resumes."""

_base_ = "pspnet.py"

train_dataloader = dict(
    dataset=dict(
        pipeline=[
            dict(type="LoadImageFromFile"),
            dict(type="LoadAnnotations"),
            dict(type="Resize", scale=(48, 48), keep_ratio=False),
            dict(type="PackSegInputs"),
        ]
    )
)
