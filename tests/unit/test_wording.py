import pytest

from resvae_ray.wording import count, printable


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (count(1, "trial"), "1 trial"),
        (count(0, "trial"), "0 trials"),
        (count(1890, "epoch"), "1,890 epochs"),
        (count(1, "class", "classes"), "1 class"),
        (count(2, "class", "classes"), "2 classes"),
        (printable("β-lactamase 🧬"), "β-lactamase 🧬"),
        (printable("a\tb\nc\x1b[31m\u2028\ud800"), r"a\tb\nc\x1b[31m\u2028\ud800"),
    ],
)
def test_counts_and_other_peoples_text(found, expected):
    assert found == expected
