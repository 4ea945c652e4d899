"""An error in one line."""

from resvae_ray.errors import first_line


def test_the_first_line_of_an_error():
    assert first_line(ValueError("\n  no good \nand more")) == "no good"
    assert first_line(EOFError()) == "EOFError"
    assert first_line(EOFError(" \n ")) == "EOFError"
