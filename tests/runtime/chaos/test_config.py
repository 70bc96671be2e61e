"""What a chaos:// URI and a script may say."""

from pathlib import Path

import pytest

from diffad_runtime.chaos import ChaosConfig, FaultKind, ScriptedFault, read_script
from diffad_runtime.errors import SourceError


def test_a_uri() -> None:
    config = ChaosConfig.from_uri("chaos://?seed=7&fps=25&size=64&faults=freeze,drop&every=3&length=2&part=disc")
    assert (config.seed, config.fps, config.size, config.every, config.length) == (7, 25, 64, 3, 2)
    assert config.part == "disc"
    assert ChaosConfig.from_uri("chaos://").faults == "all"
    assert ChaosConfig.from_uri("chaos://?over=dir%3A%2F%2Fa%3Fb%26c").over == "dir://a?b&c"


@pytest.mark.parametrize(
    ("uri", "pattern"),
    [
        ("chaos://line?seed=1", "nothing may stand before"),
        ("chaos://?sead=1", "chaos:// has no parameter 'sead'.*faults"),
        ("chaos://?seed=1&seed=2", "'seed' is given twice"),
        ("chaos://?fps=0", "fps='0'.*pictures a second"),
        ("chaos://?faults=freeze,fire", "no fault 'fire'"),
        ("chaos://?length=nan", "length='nan'"),
    ],
)
def test_what_is_refused(uri: str, pattern: str) -> None:
    with pytest.raises(SourceError, match=pattern):
        ChaosConfig.from_uri(uri)


def test_a_script(tmp_path: Path) -> None:
    path = tmp_path / "night shift.toml"
    path.write_text(
        '[[fault]]\nkind = "freeze"\nat = 2.0\nlength = 1.5\n\n'
        '[[fault]]\nkind = "storm"\nat = 5\namount = 7\n\n'
        '[[fault]]\nkind = "gain"\nat = 6\n'
    )
    assert read_script(path, length_s=4.0) == [
        ScriptedFault(0, FaultKind.FREEZE, 2.0, 1.5, 0.0),
        ScriptedFault(1, FaultKind.STORM, 5.0, 0.0, 7.0),
        ScriptedFault(2, FaultKind.GAIN, 6.0, 4.0, 0.35),
    ]


@pytest.mark.parametrize(
    ("text", "pattern"),
    [
        ("[[fault]\n", "is no TOML: .*line 1"),
        ("", r"fault: Field required.*\[\[fault\]\]"),
        ('[[fault]]\nkind = "fire"\nat = 1', r"fault\.0\.kind: Input should be 'freeze'"),
        ('[[fault]]\nkind = "freeze"\nat = -1', r"fault\.0\.at"),
        ('[[fault]]\nkind = "freeze"\nat = 1\nwhen = 3', r"fault\.0\.when: Extra inputs"),
        ('[[fault]]\nkind = "end"\nat = 1\nlength = 3', r"fault 1 \(end\) is over at once, but length is 3"),
        ('[[fault]]\nkind = "freeze"\nat = 1\n[[fault]]\nkind = "end"\nat = 2', "fault 2 .end. begins at 2 s, before"),
    ],
)
def test_scripts_that_are_refused(text: str, pattern: str, tmp_path: Path) -> None:
    path = tmp_path / "script.toml"
    path.write_text(text)
    with pytest.raises(SourceError, match=pattern) as caught:
        read_script(path, length_s=4.0)
    assert "\n" not in str(caught.value)


def test_a_script_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"absent\.toml cannot be read"):
        read_script(tmp_path / "absent.toml", length_s=1)
    (tmp_path / "latin.toml").write_bytes(b"# \xe9\n")
    with pytest.raises(SourceError, match=r"latin\.toml cannot be read"):
        read_script(tmp_path / "latin.toml", length_s=1)
