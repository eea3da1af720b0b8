"""Names that are not settings here: what each error says to do."""

import pytest
from gunicorn.config import Config
from gunicorn.settings import absent


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (
            "dirty_apps",
            'distribution gunicorn-dirty, which is not installed; run: pip install "gunicorn-server[dirty]"',
        ),
        ("on_dirty_starting", '"gunicorn-server[dirty]"'),
        (
            "control_socket",
            'distribution gunicorn-control, which is not installed; run: pip install "gunicorn-server[control]"',
        ),
        ("spew", "the setting 'spew' is not in this version yet; remove it"),
        ("wrokers", "there is no setting 'wrokers'; did you mean 'workers'?"),
        ("colour_of_the_sky", "there is no setting 'colour_of_the_sky'"),
    ],
)
def test_the_error_says_what_to_do(name: str, text: str) -> None:
    assert str(absent.unknown(name, Config().settings)).endswith(text)


def test_no_absent_name_is_declared() -> None:
    declared = set(Config().settings)
    assert not declared & set(absent.NOT_YET)
    assert not declared & set(absent.EXTRA_FLAGS)


@pytest.mark.parametrize("flag", [flag for flags in absent.NOT_YET.values() for flag in flags])
def test_each_known_flag_is_refused_by_name(flag: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        Config().parser().parse_args([flag, "value"])
    assert caught.value.code == 2
    assert f"{flag}: the setting " in capsys.readouterr().err


def test_nearest() -> None:
    assert absent.nearest("bnid", ["bind", "workers"]) == "bind"
    assert absent.nearest("zzz", ["bind", "workers"]) is None
