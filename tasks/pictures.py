"""What all pictures have in common: colours, size, dress, and the PNG data URI for a report.

Every picture has a light ground: Prefect's page is dark. `Figure` is used without pyplot, which
keeps global state and is not safe in threads.
"""

# Matplotlib leaves the types of its keyword arguments open:
# pyright: reportUnknownMemberType=false

import base64
import io

from matplotlib.axes import Axes
from matplotlib.figure import Figure

INK, ACCENT, SECOND, GRID = "#1b1f24", "#0b5cad", "#c2410c", "#d9dee4"
WIDTH_IN, HEIGHT_IN, DPI = 7.2, 2.7, 110


def one_panel(y: str, x: str) -> tuple[Figure, Axes]:
    """Return a figure of the usual size with one panel, its axes labelled."""
    figure = empty_figure()
    axes = figure.subplots()
    dress(axes, y, x)
    return figure, axes


def empty_figure() -> Figure:
    """Return a figure of the usual size."""
    return Figure(figsize=(WIDTH_IN, HEIGHT_IN), dpi=DPI, facecolor="white", layout="constrained")


def dress(axes: Axes, y: str, x: str) -> None:
    """Label a panel's axes, and draw its grid behind the data."""
    axes.set_xlabel(x, fontsize=9, color=INK)
    axes.set_ylabel(y, fontsize=9, color=INK)
    axes.tick_params(labelsize=8, colors=INK)
    axes.grid(visible=True, color=GRID, lw=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def data_uri(figure: Figure) -> str:
    """Return a figure as a PNG data URI."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"
