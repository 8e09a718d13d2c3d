import pytest

from asprm.run.manifests import ALL, by_notebook, manifests
from asprm.run.open import open_run


def test_a_notebook_counts_its_last_artifact_its_largest_process_and_all_digests(tmp_path, monkeypatch):
    monkeypatch.setenv("ASPRM_HOME", str(tmp_path))
    open_run("smoke", "sample", {"policy": "L"}, quiet=True).write_json("sample/L/train", {})
    open_run("smoke", "claims", quiet=True).write_json("claims/tally", {})
    run = open_run("smoke", "sample", {"policy": "M"}, quiet=True)
    run.write_json("sample/M/train", {})
    run.kept.seconds = 1000
    run.write_json("sample/M/validation", [1])
    sample_l, sample_m, claims = by_notebook(manifests(run.base))
    assert [(made.stage, made.policy, len(made.digests)) for made in (sample_l, sample_m, claims)] == [
        ("sample", "L", 1),
        ("sample", "M", 2),
        ("claims", ALL, 1),
    ]
    assert sample_m.seconds >= 1000 > sample_l.seconds
    before = sample_m.digest
    run.write_json("sample/M/validation", [1])
    assert by_notebook(manifests(run.base))[1].digest == before
    run.write_json("sample/M/validation", [2])
    assert by_notebook(manifests(run.base))[1].digest != before


@pytest.mark.parametrize("content", [b"", b"{}", b"null", b"[]", b'{"stage": ', b"\xff\xfe{}"])
def test_a_damaged_manifest_is_named(tmp_path, content):
    path = tmp_path / "sample" / "x.manifest.json"
    path.parent.mkdir()
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"x\.manifest\.json: a damaged manifest; expected JSON with stage, artifact"):
        manifests(tmp_path)
