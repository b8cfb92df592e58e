"""What mmengine.dataset exports: datasets."""

from trainwright.compat.mmengine.mirror import mirror

__getattr__, __dir__, __all__ = mirror(
    __name__,
    {
        ".base_dataset": "BaseDataset Compose force_full_init",
        ".dataset_wrapper": "ClassBalancedDataset ConcatDataset RepeatDataset",
        ".sampler": "DefaultSampler InfiniteSampler",
        ".utils": "COLLATE_FUNCTIONS default_collate pseudo_collate worker_init_fn",
    },
    modules="base_dataset dataset_wrapper sampler utils",
)
