"""What mmengine.optim.optimizer exports: optimizers and their wrappers."""

from trainwright.compat.mmengine.mirror import mirror

__getattr__, __dir__, __all__ = mirror(
    __name__,
    {
        ".amp_optimizer_wrapper": "AmpOptimWrapper",
        ".apex_optimizer_wrapper": "ApexOptimWrapper",
        ".base": "BaseOptimWrapper",
        ".builder": "OPTIMIZERS OPTIM_WRAPPER_CONSTRUCTORS build_optim_wrapper",
        ".default_constructor": "DefaultOptimWrapperConstructor",
        ".optimizer_wrapper": "OptimWrapper",
        ".optimizer_wrapper_dict": "OptimWrapperDict",
        ".zero_optimizer": "ZeroRedundancyOptimizer",
    },
    modules="""
        amp_optimizer_wrapper apex_optimizer_wrapper base builder default_constructor optimizer_wrapper
        optimizer_wrapper_dict zero_optimizer
    """,
)
