"""What every figure has to be: drawn, told in a sentence, and fit to be read."""

from contextlib import nullcontext
from io import BytesIO

import numpy as np
from matplotlib import pyplot
from matplotlib.text import Text
from PIL import Image

from asprm.figures.base import Plot


def check_plot(plot: Plot, words: str, least_ink: float = 0.005) -> None:
    """The sentence has these words; no text is small; the page is neither empty (`least_ink`) nor filled nor cut,
    on a phone neither; and what is drawn can be had as numbers."""
    assert words in plot.alt
    assert plot.alt.endswith(".")
    sizes = [text.get_fontsize() for text in plot.findobj(Text) if text.get_text() and text.get_visible()]
    assert min(sizes) >= 9
    for width in (nullcontext(), plot.narrow()):
        with width:
            out = BytesIO()
            plot.savefig(out, format="png", dpi=60)
        pixels = np.asarray(Image.open(out).convert("L"))
        assert least_ink < (pixels < 200).mean() < 0.7
        assert pixels[:, [0, -1]].min() == pixels[[0, -1]].min() == 255, pixels.shape  # nothing is cut off at the edge
    assert len(plot.numbers()) or " 0 " in plot.alt
    assert pyplot.get_fignums() == []
