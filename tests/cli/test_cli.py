"""The command line as a user meets it: exit codes, one line an error, nothing overwritten."""

import io
import json
import signal
import struct
import subprocess
import sys
import time
import zlib

import numpy as np
import pytest
from PIL import Image

from underpaint.cli.fields import style_layers_of
from underpaint.errors import UnderpaintError
from underpaint.imaging import images, png16
from underpaint.recipe import Recipe, make
from underpaint.storage.documents import write_json


@pytest.fixture
def refused(run):
    def check(*words, says=()):
        code, out, err = run(*words)
        assert code == 2, err
        assert out == ""
        lines = err.strip().split("\n")
        assert len(lines) == 1, err
        assert lines[0].startswith("underpaint: ")
        for word in [says] if isinstance(says, str) else says:
            assert word in lines[0]

    return check


@pytest.fixture
def paint(pair, tiny_weights, tmp_path):
    """The words of a quick run into `name`."""

    def words(name="run", *more):
        fixed = ["--network", "vgg19", "--weights", tiny_weights, "--size", 64, "--iterations", 6, "--device", "cpu"]
        return ["stylize", *pair, "--out", tmp_path / name, *fixed, *more]

    return words


def test_json_is_one_line_of_numbers(run, paint, tmp_path):
    code, out, err = run(*paint("run", "--json", "--quiet"))
    assert (code, err) == (0, "")
    told = json.loads(out)
    assert out.count("\n") == 1
    assert told["folder"] == str(tmp_path / "run")
    assert told["status"] == "finished"
    assert set(told["losses"]) >= {"style/relu1_1", "content/relu4_2", "color", "palette", "smoothness", "total"}


def test_says_what_it_will_cost_and_where_the_picture_is(run, paint, tmp_path):
    code, out, err = run(*paint())
    assert code == 0
    assert out == f"{tmp_path / 'run/pastiche.png'}\n"
    text = " ".join(err.split())
    assert "64×48 px" in text
    assert "GiB" in text
    assert "px done: total" in text
    assert (tmp_path / "run/pastiche.png").exists()


def test_recipe_file_and_flags_over_it(run, paint, tmp_path):
    (tmp_path / "r.toml").write_text(
        'preset = "draft"\nseed = 3\ncontent_weight = 0.5\n[style_layers]\nrelu1_1 = 1.0\nrelu2_1 = 0.5\n'
    )
    code, _, _ = run(*paint("run", "--recipe", tmp_path / "r.toml", "--seed", 4, "--layer-weight", "relu2_1=2", "--quiet"))
    assert code == 0
    recipe = json.loads((tmp_path / "run/run.json").read_text())["recipe"]
    assert recipe["seed"] == 4
    assert recipe["content_weight"] == 0.5
    assert recipe["style_layers"] == {"relu1_1": 1.0, "relu2_1": 2.0}


def test_layers_weigh_as_the_preset_has_them():
    default, others = Recipe().style_layers, ["relu2_1", "relu3_1", "relu4_1", "relu5_1"]
    assert style_layers_of(None, None, {}) is None
    assert style_layers_of(None, ["relu1_1=0"], {"preset": "gatys"}) == {"relu1_1": 0.0} | dict.fromkeys(others, 1.0)
    assert style_layers_of(None, ["relu1_1=0"], {}) == default | {"relu1_1": 0.0}
    assert style_layers_of(None, ["relu1_1=0"], {}, make({"preset": "gatys"}))["relu2_1"] == 1
    assert style_layers_of(None, ["relu2_1=3"], {"preset": "gatys"}, make({"style_layers": {"relu1_1": 0.5}})) == {
        "relu1_1": 0.5,
        "relu2_1": 3.0,
    }
    vgg = {"network": "vgg19"}
    found = style_layers_of("relu1_2, relu5_2", ["relu5_2=7"], vgg)
    assert found == {"relu1_2": default["relu1_1"], "relu5_2": 7.0}
    assert style_layers_of("relu1_2,relu5_2", None, vgg | {"preset": "gatys"}) == {"relu1_2": 1.0, "relu5_2": 1.0}


def test_a_border_is_cropped_unless_told_otherwise(run, paint, pair, tmp_path):
    Image.fromarray(np.pad(np.asarray(Image.open(pair[1])), ((5, 5), (7, 0), (0, 0)), constant_values=255)).save(pair[1])
    painted = {}
    for flag in ("--crop", "--no-crop"):
        code, _, err = run(*paint(flag, flag))
        assert code == 0
        told = (
            "style.png: a border of 5 px at the top, 5 px at the bottom and 7 px at the left is cropped; --no-crop keeps it"
        )
        assert (told in " ".join(err.split())) == (flag == "--crop")
        assert json.loads((tmp_path / flag / "run.json").read_text())["recipe"]["crop"] == (flag == "--crop")
        painted[flag] = images.read(tmp_path / flag / "pastiche.png").rgb
    assert (painted["--crop"] != painted["--no-crop"]).any()


@pytest.mark.parametrize("command", ["stylize", "explain", "ablate"])
def test_every_command_that_paints_can_leave_borders(run, command, pair, tmp_path, monkeypatch):
    """The flag reaches the recipe; nothing is painted."""
    from underpaint.explanation import ablating, explaining
    from underpaint.runs import start

    asked = []

    def prepare(*_, **fields):
        asked.append(fields.get("crop"))
        raise UnderpaintError("enough")

    for module in (start, explaining, ablating):
        monkeypatch.setattr(module, "prepare", prepare)
    for flags in ([], ["--crop"], ["--no-crop"]):
        run(command, *pair, "--out", tmp_path / "x", *flags)
    assert asked == [None, True, False]


def test_carries_to_a_larger_size_and_saves_at_sixteen_bits(run, refused, paint, tiny_weights, tmp_path):
    run(*paint("small", "--quiet"))
    large = ["stylize", "--from", tmp_path / "small", "--size", 96, "--weights", tiny_weights, "--device", "cpu", "--quiet"]
    assert run(*large)[0] == 0
    assert Image.open(tmp_path / "small-96/pastiche.png").size == (96, 72)
    assert run("save", tmp_path / "small-96", tmp_path / "deep.tiff", "--bits", 16)[0] == 0
    deep, plain = images.read(tmp_path / "deep.tiff").rgb, images.read(tmp_path / "small-96/pastiche.png").rgb
    assert np.abs(deep - plain).max() <= 0.51 / 255
    assert (np.rint(deep * 65535) % 257 != 0).any()
    assert json.loads(images.read_metadata(tmp_path / "deep.tiff")["underpaint:recipe"])["size"] == 96
    refused("save", tmp_path / "small-96", tmp_path / "deep.tiff", says="already")
    refused("save", tmp_path / "small-96", tmp_path / "deep.jpg", "--bits", 16, says="16")
    refused(*large, says=("already holds a run", "small-96"))
    refused("stylize", "--from", tmp_path / "small", "--size", 64, says="larger")
    refused("stylize", "--from", tmp_path / "small", says="--size")


def test_networks_are_listed(run, tiny_weights, tmp_path, monkeypatch):
    monkeypatch.setenv("UNDERPAINT_WEIGHTS", str(tmp_path))
    monkeypatch.setattr("underpaint.networks.weights.cache_folder", lambda: tmp_path / "cache")
    (tmp_path / "vgg19_imagenet_conv.safetensors").write_bytes(tiny_weights.read_bytes())
    code, out, _ = run("networks", "--json")
    listed = {entry["name"]: entry for entry in json.loads(out)}
    assert code == 0
    assert listed["vgg19"]["weights"] == str(tmp_path / "vgg19_imagenet_conv.safetensors")
    assert listed["vgg16"]["weights"] is None
    assert listed["vgg19"]["layers"][-1] == "relu5_4"
    assert listed["vgg16"]["layers"][-1] == "relu5_3"
    assert listed["compact"]["weights"].endswith("compact.safetensors")
    told = run("networks")[1]
    assert "would be downloaded from https://" in told
    assert "compact: comes with the package" in told


def test_demo_needs_no_weights_and_no_connection(run, tmp_path, monkeypatch):
    monkeypatch.delenv("UNDERPAINT_WEIGHTS", raising=False)
    monkeypatch.setattr("underpaint.networks.weights.cache_folder", lambda: tmp_path / "cache")
    monkeypatch.setattr("socket.socket.connect", lambda *_: pytest.fail("a host was contacted"))
    code, _, err = run("demo", "--out", tmp_path / "demo", "--size", 64, "--preset", "draft", "--device", "cpu")
    assert code == 0, err
    assert Image.open(tmp_path / "demo/pastiche.png").width == 64
    assert err.count("--network vgg19") == 1


def bad_files(folder):
    """Every kind of file that is no picture to us, with what is said of it."""
    whole = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(whole, "PNG")
    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    (folder / "empty.png").write_bytes(b"")
    (folder / "cut.png").write_bytes(whole.getvalue()[:3000])
    (folder / "text.jpg").write_text("not a picture")
    Image.new("RGB", (1, 1)).save(folder / "dot.png")
    Image.new("L", (30_000, 40)).save(folder / "wide.png")
    bomb = png16._chunk(b"IHDR", header) + png16._chunk(b"IDAT", zlib.compress(bytes(1000)))
    (folder / "bomb.png").write_bytes(png16.SIGNATURE + bomb)
    (folder / "folder.png").mkdir()
    return {
        "none.png": "No such file", "empty.png": "empty", "cut.png": "cut off", "text.jpg": "not a PNG", "dot.png": "1×1",
        "wide.png": "30000×40", "bomb.png": "too large", "folder.png": "folder",
    }  # fmt: skip


@pytest.mark.parametrize("place", ["content", "style"])
def test_bad_pictures(refused, pair, tiny_weights, tmp_path, place):
    for name, word in bad_files(tmp_path).items():
        pictures = [tmp_path / name, pair[1]] if place == "content" else [pair[0], tmp_path / name]
        refused(
            "stylize",
            *pictures,
            "--out",
            tmp_path / "run",
            "--network",
            "vgg19",
            "--weights",
            tiny_weights,
            says=(place, name, word),
        )
        assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--style-layers", "relu9_1"], ("layer", "relu9_1", "relu5_4")),
        (["--style-layers", "relu1_1,relu1_1"], ("relu1_1", "twice")),
        (["--style-layers", ""], "layer"),
        (["--content-layers", "conv4"], ("conv4",)),
        (["--layer-weight", "relu1_1=-1"], ("style_layers.relu1_1", "-1")),
        (["--layer-weight", "relu1_1"], "LAYER=W"),
        (["--layer-weight", "relu1_1=nan"], "style_layers.relu1_1"),
        (["--style-weight", "-2"], "style_weight"),
        (["--content-weight", "inf"], "content_weight"),
        (["--size", "16"], ("size", "32")),
        (["--size", "100000"], "size"),
        (["--iterations", "3,x"], "--iterations"),
        (["--iterations", "0"], "iterations"),
        (["--strength", "2"], "strength"),
        (["--statistic", "mean"], ("statistic", "gram")),
        (["--network", "resnet50"], ("network", "vgg19")),
        (["--optimizer", "sgd"], "optimizer"),
        (["--pooling", "min"], "pooling"),
        (["--keep-color", "maybe"], "keep_color"),
        (["--precision", "float8"], "precision"),
        (["--device", "tpu"], ("device", "tpu", "cpu")),
        (["--seed", "-1"], "seed"),
        (["--style-weights", "1,2"], ("style_weights", "2 given for 1")),
        (["--start", "nowhere.png"], ("start", "nowhere.png")),
        (["--content-mask", "nowhere.png"], ("content mask", "nowhere.png")),
        (["--protect", "nowhere.png"], ("protect", "nowhere.png")),
        (["--protect", "faces"], ("no face found", "content.png", "--protect FILE")),
        (["--protect-weight", "20"], ("protect_weight", "add --protect")),
        (["--from", "nowhere", "--protect", "faces"], "--from"),
        (["--recipe", "nowhere.toml"], ("--recipe", "nowhere.toml")),
        (["--weights", "nowhere"], ("--weights", "nowhere")),
    ],
)
def test_bad_fields(refused, paint, tmp_path, flags, says):
    refused(*paint("run", *flags), says=says)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("text", "says"), [("size = ", "not TOML"), ("sise = 3", "sise"), ("size = 'big'", "size")])
def test_bad_recipe_files(refused, paint, tmp_path, text, says):
    (tmp_path / "bad.toml").write_text(text)
    refused(*paint("run", "--recipe", tmp_path / "bad.toml"), says=("bad.toml", says))


def test_mask_alone(refused, paint, pair):
    refused(*paint("run", "--content-mask", pair[0]), says=("masks", "both"))


def test_nothing_is_overwritten(run, refused, paint, tmp_path):
    assert run(*paint("run", "--quiet"))[0] == 0
    before = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    refused(*paint(), says=("--out", "already holds a run", "underpaint stylize --from"))
    refused("resume", tmp_path / "run", says="finished")
    assert before == {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    (tmp_path / "file").write_text("in the way")
    refused(*paint("file"), says="--out")
    assert (tmp_path / "file").read_text() == "in the way"


def test_bad_run_folders(run, refused, paint, tmp_path):
    refused("resume", tmp_path / "nowhere", says=("nowhere", "not a run folder"))
    assert run(*paint("run", "--quiet"))[0] == 0
    facts = json.loads((tmp_path / "run/run.json").read_text())

    def rewrite(**changes):
        write_json(tmp_path / "run/run.json", facts | {"status": "stopped"} | changes)

    rewrite(format=99)
    refused("resume", tmp_path / "run", says="version")
    (tmp_path / "run/run.json").write_text('{"format": 1')
    refused("resume", tmp_path / "run", says=("run.json", "damaged"))
    rewrite(recipe=facts["recipe"] | {"seed": 5})
    refused("resume", tmp_path / "run", says="another recipe")
    rewrite()
    (tmp_path / "run/checkpoint.safetensors").write_bytes(b"short")
    refused("resume", tmp_path / "run", says="checkpoint")
    (tmp_path / "run/inputs/content.png").unlink()
    refused("resume", tmp_path / "run", says="content.png")


def test_unwritable_out(refused, paint, tmp_path):
    (tmp_path / "file").write_text("")
    refused(*paint("file/run"), says=("--out", "file"))


def hear_interrupts():
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_ctrl_c_keeps_the_picture_and_says_how_to_go_on(pair, tiny_weights, tmp_path):
    """A real process, a real signal."""
    command = [sys.executable, "-m", "underpaint", "stylize", *map(str, pair), "--out", str(tmp_path / "run")]
    command += [
        "--network",
        "vgg19",
        "--weights",
        str(tiny_weights),
        "--size",
        "64",
        "--iterations",
        "100000",
        "--device",
        "cpu",
    ]
    # Where tests run in the background, processes may have been told not to hear it.
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, preexec_fn=hear_interrupts)
    try:
        deadline = time.monotonic() + 120
        while not (tmp_path / "run/history.csv").exists() or (tmp_path / "run/history.csv").stat().st_size < 5000:
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=120)
    finally:
        process.kill()
    assert process.returncode == 130
    assert "underpaint resume" in err
    assert "Traceback" not in err
    assert json.loads((tmp_path / "run/run.json").read_text())["status"] == "stopped"
    assert Image.open(tmp_path / "run/pastiche.png").size == (64, 48)


def test_help_starts_without_torch():
    """`--help` is quick: it does not import what only painting needs."""
    code = "import sys; from underpaint import cli; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_run_is_shown_printed_and_compared(run, refused, pair, tmp_path):
    folder = tmp_path / "run"
    assert run("stylize", *pair, "--out", folder, "--size", 64, "--preset", "draft", "--quiet")[0] == 0
    assert run("report", folder)[0] == 0
    assert (folder / "report.html").stat().st_size > 10_000
    code, out, _ = run("figures", folder, "--format", "png,svg", "--json")
    assert code == 0
    assert {path.split("/")[-1] for path in json.loads(out)["files"]} >= {"convergence.png", "convergence.svg", "losses.tex"}
    assert (folder / "figures" / "convergence.png").exists()
    flags = ["--content", pair[0], "--style", pair[1], "--device", "cpu", "--json"]
    code, out, _ = run("compare", folder, folder / "pastiche.png", "--out", tmp_path / "table.csv", *flags)
    assert code == 0
    first, second = json.loads(out)["rows"]
    assert first["values"] == pytest.approx(second["values"])
    assert first["values"]["heldout"] < 1
    assert len((tmp_path / "table.csv").read_text().splitlines()) == 3
    _, out, _ = run("compare", folder, "--device", "cpu")
    assert "heldout" in out
    refused("compare", folder, "--out", tmp_path / "table.csv", says="is there already")
    refused("compare", folder / "pastiche.png", says=["--content", "--style"])
    refused("compare", tmp_path / "nowhere", says="nowhere")
    refused("figures", folder, "--format", "gif", says=["gif", "pdf"])
    refused("figures", tmp_path, says="not a folder of")
    refused("report", tmp_path, says="not a folder of")
