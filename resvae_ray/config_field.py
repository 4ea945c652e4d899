"""One field of the configuration, declared in one line: default, meaning, unit and range.

    lr: float = setting(4.69e-4, "learning rate of Adam", above=0)

The check of a value, `--help`, the comments of search.toml and the reference of the docs are made from it.
"""

from dataclasses import Field, dataclass, field, fields
from typing import Any, TypeVar

from resvae_ray.errors import UsageError

T = TypeVar("T")

_KEY = "about"  # in the metadata of a dataclass field


@dataclass(frozen=True)
class About:
    """Everything that a person needs to know about a field.

    Attributes:
        meaning: one phrase, which makes sense alone.
        unit: of the number, in the plural.
        at_least: lowest value.
        above: bound that a value must exceed.
        at_most: highest value.
        below: bound that a value must stay under.
        choices: the only values.
        words: texts that are accepted beside numbers.
        why: the reason for the range; an error gives it.
        unset: what None stands for.
        rare: the command line lists it among rarely used options.
    """

    meaning: str
    unit: str = ""
    at_least: float | None = None
    above: float | None = None
    at_most: float | None = None
    below: float | None = None
    choices: tuple[str, ...] = ()
    words: tuple[str, ...] = ()
    why: str = ""
    unset: str = ""
    rare: bool = False

    @property
    def range(self) -> str:
        """The accepted values: `at least 1`, `0 to below 1`, `MSE or RMSE`; empty without a rule."""
        if self.choices:
            return (" or " if len(self.choices) == 2 else ", ").join(self.choices)
        low = _bound("at least", self.at_least) or _bound("above", self.above)
        high = _bound("at most", self.at_most) or _bound("below", self.below)
        both = f"{low.removeprefix('at least ')} to {high.removeprefix('at most ')}" if low and high else low or high
        return ", or ".join([both, *self.words])

    def check(self, where: str, value: Any) -> None:
        """
        Args:
            where: the field as messages name it, such as `training.lr`.

        Raises:
            UsageError: `value` is out of range.
        """
        if not self._accepts(value):
            one_sided = self.range.startswith(("at ", "above", "below"))
            rule = f"it must be {self.range}" if one_sided else f"expected {self.range}"
            raise UsageError(f"{where} is {value!r}; {rule}{f': {self.why}' if self.why else ''}")

    def _accepts(self, value: Any) -> bool:
        if self.choices:
            return value in self.choices
        if value is None or isinstance(value, str):
            return value is None or not self.words or value in self.words
        return (
            (self.at_least is None or value >= self.at_least)
            and (self.above is None or value > self.above)
            and (self.at_most is None or value <= self.at_most)
            and (self.below is None or value < self.below)
        )


def setting(default: T, meaning: str, **about: Any) -> T:
    """A field of a dataclass with its default; `about` are further attributes of `About`."""
    return field(default=default, metadata={_KEY: About(meaning, **about)})


def about(it: Field[Any]) -> About:
    """The description declared with `setting`."""
    return it.metadata[_KEY]


def check_fields(section: str, values: Any) -> None:
    """Checks every field of the dataclass instance `values` against its declared range.

    Raises:
        UsageError: a value is out of range; the message names `section`, field, value and range.
    """
    for it in fields(values):
        about(it).check(f"{section}.{it.name}", getattr(values, it.name))


def in_full(it: Field[Any]) -> str:
    """Meaning, unit, range and default: `rows per gradient step (rows, at least 2; default: 32)`."""
    facts = about(it)
    limits = ", ".join(filter(None, (facts.unit, facts.range)))
    default = f"default: {default_text(it)}"
    return f"{facts.meaning} ({f'{limits}; {default}' if limits else default})"


def default_text(it: Field[Any]) -> str:
    """The default as a person writes it."""
    if it.default is None:
        return about(it).unset
    if isinstance(it.default, bool):
        return str(it.default).lower()
    return f"{it.default:g}" if isinstance(it.default, float) else str(it.default) or about(it).unset


def _bound(words: str, number: float | None) -> str:
    return "" if number is None else f"{words} {number:g}"
