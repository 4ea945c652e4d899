"""A listener that hears of the steps of a flow."""

from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

from resvae_ray.progress import Progress, silent

if TYPE_CHECKING:
    from resvae_ray.flow.steps import Step


class Watch:
    """Hears of the steps and ignores them; subclasses show them. `number` counts from 1 to `of`."""

    def found(self, step: "Step", number: int, of: int) -> None:
        """A step was done by an earlier call."""

    def begins(self, step: "Step", number: int, of: int) -> AbstractContextManager[Progress]:
        """A step begins; its progress goes to what this returns."""
        return nullcontext(silent)

    def ended(self, step: "Step", result: Any) -> None:
        """A step ended, and its function returned `result`."""
