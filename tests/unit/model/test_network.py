import pytest
import torch

from resvae_ray.errors import UsageError
from resvae_ray.model.network import ResVAE


def test_summary_names_all_widths():
    text = ResVAE(1280, 859, 18).summary()
    assert "fc1             1280 ->   859" in text
    assert "fc21 (mu)        214 ->    18" in text
    assert "4,064,123 parameters" in text


@pytest.mark.parametrize(("input_dim", "hidden_dim", "z_dim"), [(0, 8, 2), (8, 3, 2), (8, 8, 0)])
def test_widths_that_leave_nothing_are_refused(input_dim, hidden_dim, z_dim):
    with pytest.raises(UsageError):
        ResVAE(input_dim, hidden_dim, z_dim)


def test_more_latents_than_units_before_them_work():
    assert ResVAE(8, 4, 6)(torch.zeros(2, 8))[0].shape == (2, 8)


def test_a_seed_leaves_the_global_random_state_alone():
    model, x = ResVAE(8, 8, 2), torch.ones(4, 8)
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    first = model.sample_latents(x, seed=1)
    assert torch.equal(torch.rand(3), expected)
    assert torch.equal(first, model.sample_latents(x, seed=1))
    assert not torch.equal(first, model.sample_latents(x, seed=2))


def test_rows_do_not_depend_on_each_other_in_eval_mode():
    model, x = ResVAE(8, 8, 2).eval(), torch.randn(6, 8)
    torch.testing.assert_close(model.encode(x)[0][2:4], model.encode(x[2:4])[0])
