"""The synthetic line: same seed same frame, masks that tell the truth, and the data set on disk."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diffad_runtime.errors import DataError, SourceError
from diffad_runtime.imagefile import list_images, read_image, read_mask
from diffad_runtime.synthetic import DEFECT_KINDS, LineConfig, SyntheticLine, write_mvtec
from diffad_runtime.synthetic.line import VISIBLE_LEVELS, visible_change
from diffad_runtime.synthetic.part import SHAPES, Pose

QUIET = LineConfig(size=128, noise=0.0, seed=4)


def test_a_frame_depends_on_seed_and_index_alone() -> None:
    line = SyntheticLine(LineConfig(size=64, seed=9, defects=0.5))
    forward = [line.frame(index) for index in range(6)]
    again = SyntheticLine(LineConfig(size=64, seed=9, defects=0.5))
    for index in reversed(range(6)):
        frame = again.frame(index)
        assert frame.kind == forward[index].kind
        np.testing.assert_array_equal(frame.image, forward[index].image)
        np.testing.assert_array_equal(frame.mask, forward[index].mask)
    still = [SyntheticLine(LineConfig(size=64, seed=seed, drift=0, noise=0)).frame(0, "good") for seed in (9, 10)]
    assert (still[0].image != still[1].image).any()
    assert (forward[0].image != forward[1].image).any()


def test_another_process_draws_the_same_frame() -> None:
    code = (
        "import zlib; from diffad_runtime.synthetic import *;"
        "f = SyntheticLine(LineConfig(size=64, seed=9)).frame(3, 'stain'); print(zlib.crc32(f.image.tobytes()))"
    )
    import zlib

    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    frame = SyntheticLine(LineConfig(size=64, seed=9)).frame(3, "stain")
    assert int(out) == zlib.crc32(frame.image.tobytes())


@pytest.mark.parametrize("part", ["plate", "disc"])
@pytest.mark.parametrize("kind", DEFECT_KINDS)
def test_mask_is_where_the_noiseless_picture_changed(part: str, kind: str) -> None:
    line = SyntheticLine(QUIET.model_copy(update={"part": part, "rotate": 180.0}))
    for index in range(4):
        good, bad = line.frame(index, "good"), line.frame(index, kind)
        assert good.kind == "good"
        assert bad.kind == kind
        assert not good.mask.any()
        change = np.abs(good.image.astype(int) - bad.image.astype(int)).max(axis=2)
        inside = bad.mask > 0
        assert set(np.unique(bad.mask)) == {0, 255}
        # 8-bit rounding moves either picture by half a level; dropped specks are the only larger change outside.
        assert (change[~inside] > VISIBLE_LEVELS + 1).sum() <= max(3, 0.05 * inside.sum())
        assert (change[inside] > VISIBLE_LEVELS - 1).mean() > 0.6
        assert 4 <= inside.sum() < 0.15 * inside.size


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**63 - 1),
    index=st.integers(0, 10**6),
    kind=st.sampled_from(DEFECT_KINDS),
    part=st.sampled_from(["plate", "disc"]),
    size=st.integers(32, 90),
)
def test_every_defect_can_be_seen(seed: int, index: int, kind: str, part: str, size: int) -> None:
    config = LineConfig.model_validate({"seed": seed, "part": part, "size": size, "rotate": 180, "drift": 3})
    frame = SyntheticLine(config).frame(index, kind)
    assert frame.image.shape == (size, size, 3)
    assert frame.image.dtype == np.uint8
    assert np.count_nonzero(frame.mask) >= 4


def test_a_part_at_any_rotation_stays_in_the_picture() -> None:
    for part in ("plate", "disc"):
        half, corner = SHAPES[part].half_side, SHAPES[part].corner
        farthest = (half - corner) * 2**0.5 + corner
        assert farthest + 0.012 * 2**0.5 < 0.5  # the default shift


def test_noise_and_drift_can_be_switched_off() -> None:
    quiet = SyntheticLine(QUIET).frame(0).image.astype(float)
    noisy = SyntheticLine(QUIET.model_copy(update={"noise": 1.0})).frame(0).image.astype(float)
    assert 1.0 < (noisy - quiet).std() < 4.0
    still = SyntheticLine(QUIET.model_copy(update={"drift": 0.0}))
    drifting = SyntheticLine(QUIET.model_copy(update={"drift": 3.0}))
    spread_still = np.std([still.frame(i).image[:12, :12].mean() for i in range(0, 600, 40)])
    spread_drifting = np.std([drifting.frame(i).image[:12, :12].mean() for i in range(0, 600, 40)])
    assert spread_drifting > 2 * spread_still


def test_share_of_defects_is_kept() -> None:
    line = SyntheticLine(LineConfig(size=32, defects=0.3))
    bad = sum(line.frame(index).kind != "good" for index in range(300))
    assert abs(bad / 300 - 0.3) < 0.09  # about 3.4 standard deviations
    assert all(SyntheticLine(LineConfig(size=32, defects=0.0)).frame(i).kind == "good" for i in range(20))
    assert all(SyntheticLine(LineConfig(size=32, defects=1.0)).frame(i).kind != "good" for i in range(20))


def test_pose_turns_about_the_centre() -> None:
    points = np.array([[0.25, 0.0], [0.0, 0.0]])
    moved = Pose(angle=np.pi / 2, dx=3, dy=-1).to_frame(points, 101)
    np.testing.assert_allclose(moved, np.array([[53.0, 49 + 25.25], [53.0, 49.0]]), atol=1e-9)


def test_visible_change_by_hand() -> None:
    before = np.zeros((20, 20, 3), np.float32)
    after = before.copy()
    after[4:8, 4:8, 1] = VISIBLE_LEVELS + 0.5
    after[5, 5, 1] = 0  # a gap, closed
    after[12:16, 12:16] = VISIBLE_LEVELS - 0.5  # too faint
    after[17, 2] = 200  # a speck, dropped
    after[2:4, 14:18] = 200  # outside the support
    support = np.ones((20, 20), bool)
    support[:4, 10:] = False
    expected = np.zeros((20, 20), np.uint8)
    expected[4:8, 4:8] = 255
    np.testing.assert_array_equal(visible_change(before, after, support), expected)


def test_wrong_requests_are_refused() -> None:
    with pytest.raises(ValueError, match="rust"):
        SyntheticLine().frame(0, "rust")
    with pytest.raises(ValueError, match="negative"):
        SyntheticLine().frame(-1)
    with pytest.raises(SourceError, match=r"no parameter 'speed'.*part, size, seed"):
        LineConfig.from_query({"speed": "3"})
    with pytest.raises(SourceError, match=r"defects='1\.5'.*less than or equal to 1.*share of defective"):
        LineConfig.from_query({"defects": "1.5"})
    assert LineConfig.from_query({"size": "64", "part": "disc"}) == LineConfig(size=64, part="disc")


def test_dataset_has_the_mvtec_layout(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    config = LineConfig(size=48, seed=2)
    root = write_mvtec(
        tmp_path / "line",
        config,
        train_good=3,
        test_good=2,
        test_per_kind=1,
        on_image=lambda done, total: seen.append((done, total)),
    )
    names = [path.relative_to(root).as_posix() for path in list_images(root, recursive=True)]
    kinds = sorted(DEFECT_KINDS)
    assert names == [
        *(f"ground_truth/{kind}/0000_mask.png" for kind in kinds),
        *(f"test/{kind}/0000.png" for kind in sorted(["dent", "missing_hole", "scratch", "stain"]) if kind < "good"),
        "test/good/0000.png",
        "test/good/0001.png",
        *(f"test/{kind}/0000.png" for kind in kinds if kind > "good"),
        *(f"train/good/{number:04d}.png" for number in range(3)),
    ]
    assert seen == [(number, 9) for number in range(1, 10)]
    line = SyntheticLine(config)
    np.testing.assert_array_equal(read_image(root / "train/good/0002.png"), line.frame(2, "good").image)
    np.testing.assert_array_equal(
        read_mask(root / f"ground_truth/{DEFECT_KINDS[0]}/0000_mask.png"), line.frame(5, DEFECT_KINDS[0]).mask
    )
    assert [path.name for path in tmp_path.iterdir()] == ["line"]
    with pytest.raises(DataError, match="not an empty folder"):
        write_mvtec(root, config)


def test_interrupted_dataset_leaves_nothing(tmp_path: Path) -> None:
    def interrupt(done: int, _total: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_mvtec(tmp_path / "line", LineConfig(size=32), on_image=interrupt)
    assert list(tmp_path.iterdir()) == []
