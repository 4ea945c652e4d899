"""A RUN in a few words, as a notebook or a Python prompt shows it."""

import html
from typing import Any

from resvae_ray.remote import Place
from resvae_ray.search.space import describe


def as_line(path: Place, status: dict[str, Any]) -> str:
    """For a prompt."""
    return f"Run({str(path)!r}: {'; '.join(f'{name} {text}' for name, text in _rows(status))})"


def as_html(path: Place, status: dict[str, Any]) -> str:
    """For a notebook: a small table."""
    rows = [("run", str(path)), *_rows(status)]
    cells = (f"<tr><th>{html.escape(name)}</th><td>{html.escape(text)}</td></tr>" for name, text in rows)
    return f"<table>{''.join(cells)}</table>"


def _rows(status: dict[str, Any]) -> list[tuple[str, str]]:
    counts = ", ".join(f"{many} {state}" for state, many in status["counts"].items() if many)
    rows = [("state", status["state"]), ("trials", counts), ("epochs", f"{status['epochs']:,}")]
    if best := status["best"]:
        where = f"{best['best_val_loss']:,.2f} in trial {best['number']} at epoch {best['best_epoch']}"
        rows += [("lowest loss", where), ("parameters", describe(best["params"]))]
    if chosen := status["chosen"]:
        spread = f" ± {chosen['sd']:,.2f}" if chosen["sd"] is not None else ""
        mean = f"{chosen['mean']:,.2f}{spread} over {len(chosen['losses'])} fresh seeds"
        rows.append(("chosen finalist", f"trial {chosen['number']}, {mean}"))
    return rows
