"""What mmengine.testing exports: what tests compare with."""

from trainwright.compat.mmengine.mirror import mirror

__getattr__, __dir__, __all__ = mirror(
    __name__,
    {
        ".compare": """
            assert_allclose assert_attrs_equal assert_dict_contains_subset assert_dict_has_keys
            assert_is_norm_layer assert_keys_equal assert_params_all_zeros check_python_script
        """,
        ".runner_test_case": "RunnerTestCase",
    },
    modules="_internal compare runner_test_case",
)
