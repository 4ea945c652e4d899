"""Sentences of the page."""

from dataclasses import replace

from resvae_ray.reporting.run_contents import Findings
from resvae_ray.reporting.sections import comparable
from resvae_ray.search.run.run import Run


def test_the_page_says_by_which_beta_the_losses_are_measured(searched):
    run = Run.open(searched([("complete", [9.0, 8.0])], model=False))

    def said(beta: float | str) -> str:
        return comparable(
            Findings(replace(run, config=replace(run.config, training=replace(run.config.training, beta=beta))))
        )

    assert "this search measures with beta 500, MSE, sum, the paper with" in said(500.0)
    assert "this search measures with a beta from the training rows, MSE, sum" in said("auto")
