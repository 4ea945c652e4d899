import pytest

from resvae_ray.errors import UsageError
from resvae_ray.extras import require


def test_a_missing_package_is_named_with_the_way_to_get_it():
    require("insight", "json")
    with pytest.raises(UsageError, match=r"no_such_package is not installed; .* pip install .*\[insight\]"):
        require("insight", "json", "no_such_package")
