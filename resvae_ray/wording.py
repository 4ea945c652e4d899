"""Numbers and other people's text as messages, tables and pages show them."""


def count(number: int, one: str, many: str = "") -> str:
    """`1 trial`, `1,890 trials`.

    Args:
        one: the singular.
        many: the plural; by default the singular with an s.
    """
    return f"{number:,} {one if number == 1 else many or f'{one}s'}"


def printable(text: str) -> str:
    """`text` on one line: a character that ends a line or cannot be seen becomes its escape, as in `ascii`."""
    return "".join(character if character.isprintable() else ascii(character)[1:-1] for character in text)
