"""Search against plain references: guided decoding, and a search without cache that reads every text in full."""

import numpy as np
import pytest
import torch
from test_engines_guided import EOS, policy, prompts, reward

from asprm.engines.executors import load_executor
from asprm.engines.guided import guided_decode
from asprm.engines.local import LocalEngine
from asprm.engines.search import Plan, search


def found(plan, count=12, rows=64, most=7):
    engine = LocalEngine(policy(), None, rows=rows)
    return dict(search(engine, load_executor(reward()), prompts(count), plan, max_new_tokens=most))


@torch.inference_mode()
def reference(model, prm, prompt, plan, most):
    """The kept solutions with their scores, the best first, and the tokens written; one text at a time, no cache."""

    def score(ids):
        return float(prm(torch.tensor([[*prompt, *ids]])).logits[0, -1, 0].sigmoid())

    def over(ids):
        return len(ids) == most or ids[-1:] == [EOS]

    written = 0

    def onward(ids, passed):
        """Up to the next decision point at which the text waits, or to its end; and the candidates there."""
        nonlocal written
        ids = list(ids)
        while not over(ids):
            probabilities = model(torch.tensor([[*prompt, *ids]])).logits[0, -1].softmax(-1)
            best = probabilities.sort(descending=True, stable=True).indices[: plan.candidates].tolist()
            if probabilities[best[0]] < plan.trigger:
                if passed + 1 >= plan.ahead:
                    return ids, best
                passed += 1
            ids.append(best[0])
            written += 1
        return ids, []

    live, ended = [onward([], plan.ahead)], []
    while True:
        ended += [ids for ids, best in live if not best]
        live = [(ids, best) for ids, best in live if best]
        if not live:
            return sorted(((score(ids), ids) for ids in ended), key=lambda x: -x[0])[: plan.width], written
        tries = [[*ids, token] for ids, best in live for token in best]
        if plan.ahead:
            kept = sorted([ids for ids, _ in live] + ended, key=score, reverse=True)[: plan.width]
            tries = [[*ids, token] for kept_ids in kept for ids, best in live if ids == kept_ids for token in best]
        else:
            kept = sorted(tries + ended, key=score, reverse=True)[: plan.width]
            tries = [ids for ids in tries if ids in kept]
        ended = [ids for ids in ended if ids in kept]
        written += len(tries)
        live = [onward(ids, 0) for ids in tries]


def test_beam_search_of_width_one_is_guided_decoding():
    model, prm = policy(), reward()
    options = {"trigger": 0.35, "candidates": 8}
    guided = dict(guided_decode(LocalEngine(model, None), load_executor(prm), prompts(40), **options, max_new_tokens=7))
    by_text = {request.key: one for request, one in guided.items()}
    for request, one in found(Plan(**options, width=1), 40, rows=8).items():
        [beam] = one.beams
        wanted = by_text[request.key]
        assert beam.ids.tolist() == wanted.ids.tolist()
        assert beam.finished == wanted.finished
        assert one.written == len(wanted.ids)
        last = wanted.decisions[-1] if len(wanted.decisions) else -request.start
        assert one.read == (request.start + last + 8 * len(wanted.decisions) if len(wanted.decisions) else 0)


@pytest.mark.parametrize(
    ("trigger", "candidates", "width", "ahead", "rows"),
    [
        (0.3, 3, 2, 0, 16),
        (0.4, 2, 3, 1, 16),
        (0.4, 2, 2, 2, 512),
        pytest.param(0.6, 4, 3, 0, 512, marks=pytest.mark.slow),
        pytest.param(0.0, 3, 2, 1, 16, marks=pytest.mark.slow),
        pytest.param(0.3, 3, 1, 1, 16, marks=pytest.mark.slow),
    ],
)
def test_equals_a_search_that_reads_every_text_in_full(trigger, candidates, width, ahead, rows):
    model, prm = policy(), reward()
    plan = Plan(trigger, candidates, width, ahead)
    changed = 0
    for request, one in found(plan, rows=rows).items():
        wanted, written = reference(model, prm, request.context.tolist(), plan, 7)
        assert [beam.ids.tolist() for beam in one.beams] == [ids for _, ids in wanted]
        scores = [beam.score for beam in one.beams]
        if len(scores) > 1:
            np.testing.assert_allclose(scores, [score for score, _ in wanted], rtol=1e-4)
        assert one.written == written
        changed += len(one.beams) > 1
    assert changed > 0 or trigger == 0 or width == 1


def test_a_search_without_decision_points_asks_nobody():
    for one in found(Plan(0.0, 4, 3)).values():
        assert one.read == 0
        assert len(one.beams) == 1


@pytest.mark.parametrize("wrong", [{"trigger": 2.0}, {"width": 0}, {"candidates": 0}, {"ahead": -1}])
def test_what_cannot_be_searched_is_refused(wrong):
    with pytest.raises(ValueError, match="search: "):
        Plan(**({"trigger": 0.5, "candidates": 2, "width": 2} | wrong))
