import pytest

from asprm.picture import LINES, TAU, drawings, pipeline_svg, place_tokens
from asprm.run import REPOSITORY


@pytest.mark.parametrize("name", drawings())
def test_the_committed_picture_is_what_the_code_draws(name):
    drawn = (REPOSITORY / "book" / "_static" / name).read_text(encoding="utf-8")
    assert drawn == drawings()[name], "draw it again:  python -m asprm.picture"


def test_steps_of_the_drawn_solution_end_with_its_doubtful_tokens():
    steps = {token: step for token, _, _, _, _, step in place_tokens(0, 48)[:4]}
    assert steps == {"Ben": 1, "has": 1, "12": 1, "−": 1}
    assert place_tokens(0, 48)[4][0::5] == ("5", 2)
    assert sum(confidence < TAU for line in LINES for _, confidence in line) + 1 == place_tokens(0, 48)[-1][-1]


def test_no_panel_is_lost_when_they_stand_in_one_column():
    assert all(pipeline_svg(columns).count('class="title"') == 6 for columns in (1, 2, 3, 4))
