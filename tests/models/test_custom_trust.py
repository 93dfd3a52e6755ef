"""Trust: nothing of a user's module runs before the command line says that it may."""

import sys

import pytest

from bptrain.cli.main import main
from bptrain.config.tree import config_root

pytestmark = pytest.mark.usefixtures("folder")
SHORT = ["data=iris", "fit.epochs=1", "name=tiny", "-q"]


@pytest.mark.parametrize(
    "path",
    ["./net.py:Net", "../own.net:Net", "/etc/net:Net", "net.py:Net", "own.net", "own.net:", ":Net", "own..net:N"],
)
@pytest.mark.parametrize("trust", ["trust=own", "trust=."])
def test_a_path_that_is_no_import_is_refused(words, capsys, path, trust):
    assert main([*SHORT, *words(path, trust)]) == 2
    assert "names nothing that can be imported. Write package.module:Name" in capsys.readouterr().err


@pytest.mark.parametrize(
    "trust",
    [
        *[[], ["trust=own.ne"], ["trust=own.net.deeper"], ["trust=[ow,net]"], ["trust=''"], ["trust=null"]],
        *[["trust=own", "trust=other"], ["trust=own", "~trust"], ["trust=${model.path}"], ["trust=own.net:Net"]],
    ],
    ids=str,
)
def test_nothing_runs_that_the_command_line_does_not_trust(words, folder, capsys, trust):
    for command in (["check"], ["-m", "seed=3,4"]):
        assert main([*command, *SHORT, *words("own.net:Net", "monitor=loss"), *trust]) == 2
        err = capsys.readouterr().err
        assert err.startswith("bptrain: model.path: is code of your own")
        assert "Add trust=own.net to the command line" in err
        assert err.count("\n") == 1
    assert not (folder / "imported").exists()
    assert "own" not in sys.modules


def test_nothing_runs_before_the_whole_config_is_right(words, folder, capsys):
    trusted = words("own.net:Net")
    assert main(["--cfg", "job", *trusted]) == 0
    assert main(["--cfg", "job", *trusted[:-1]]) == 0  # to look before one trusts
    assert main([*SHORT, *trusted, "fit.epochs=0"]) == 2
    assert main([*SHORT, "-m", *trusted, "fit.epochs=1,0"]) == 2
    with pytest.raises(SystemExit):
        main(["check", "--help", *trusted])
    assert "model=custom model.path=my.module:Net trust=my.module" in capsys.readouterr().out
    assert not (folder / "imported").exists()
    assert main([*SHORT, *trusted]) == 0
    assert (folder / "imported").exists()


def test_a_config_that_was_saved_wants_trust_again(words, folder, capsys):
    assert main([*SHORT, *words("own.net:Net")]) == 0
    (saved,) = folder.glob("outputs/tiny/*/.hydra")
    again = ["--config-dir", str(saved), "--config-name", "config", "-q"]
    assert main(again) == 2
    assert "Add trust=own.net" in capsys.readouterr().err
    assert main([*again, "trust=own.net"]) == 0


@pytest.mark.parametrize(
    ("file", "content", "chosen"),
    [
        ("start", "defaults: [train, _self_]\nseed: 1\ntrust: {}\n", ["-cn", "start"]),
        ("experiment/preset", "# @package _global_\nseed: 1\ntrust: {}\n", ["experiment=preset"]),
        ("experiment/preset", "# @package _global_\nseed: 1\ntrust: {}\n", ["experiment=outer"]),
        ("experiment/digits_mlp", "# @package _global_\nname: mine\ntrust: {}\n", []),
    ],
    ids=["start", "preset", "nested", "shadow"],
)
@pytest.mark.parametrize(
    ("text", "trust"),
    [("own", []), ("own", ["trust=own"]), ("own", ["~trust"]), ("[own]", []), ("${oc.env:HOME}", []), ("{a: 1}", [])],
    ids=str,
)
def test_trust_in_a_file_is_refused_and_the_line_named(words, folder, capsys, file, content, chosen, text, trust):
    (folder / "configs" / "experiment").mkdir(parents=True)
    (folder / "configs" / "experiment" / "outer.yaml").write_text("# @package _global_\ndefaults: [preset]\n")
    (folder / "configs" / f"{file}.yaml").write_text(content.format(text))
    assert main([*SHORT, "--config-dir", "configs", *chosen, *words("own.net:Net", "seed=2"), *trust]) == 2
    err = capsys.readouterr().err
    assert f"{file}.yaml:3: trust counts on the command line only" in err
    assert not (folder / "imported").exists()


def test_a_shadow_of_the_whole_config_gives_no_trust_either(words, folder, capsys):
    text = (config_root() / "train.yaml").read_text()
    (folder / "train.yaml").write_text(text.replace("trust: null", "trust: own"))
    assert main([*SHORT, "--config-dir", ".", *words("own.net:Net")]) == 2
    assert "train.yaml:17: trust counts on the command line only" in capsys.readouterr().err
