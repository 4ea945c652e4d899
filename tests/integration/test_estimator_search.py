"""The scikit-learn transformer that runs a search."""

import numpy as np
import pytest
from searches import SMALL

import resvae_ray as rr

pytestmark = pytest.mark.usefixtures("ray_here")


def test_a_search_chooses_the_model():
    x = np.random.default_rng(0).normal(size=(60, 6)).astype(np.float32)
    made = rr.ResVAETransformer(3, config=SMALL, epochs=3, search=True, random_state=0).fit(x)
    assert made.transform(x).shape == (60, 3)
    assert made.model_.z_dim == 3
    assert made.model_.hidden_dim in range(8, 33), "from the space"
    assert made.best_epoch_ <= 3
