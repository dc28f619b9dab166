"""`sup` as users meet it: help, one-line errors, run directories, resuming, the same run again."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from unittest import mock

import pandas as pd
import pytest
import torch
import yaml

from sup_lightning import SyntheticFeatures, ToyModel, cli, fit
from sup_lightning.experiment import Run, options_of, untrained
from sup_lightning.run_directory import RunDirectory
from tests.helpers import ROOT, TOY, same_weights

SMALL = ["--sweep.seed", "2", "--data.steps_per_epoch", "20", "--data.batch_size", "32", "--data.val_batches", "1",
         "--data.val_batch_size", "64", "--trainer.max_epochs", "2", "--threads", "1",
         "--trainer.callbacks", "[{class_path: SuperpositionMonitor}]"]  # fmt: skip
"""Small, and without figures: to draw them takes longer than all else."""


def sup(*arguments: str) -> int:
    """The exit status of `sup` in this process."""
    try:
        cli.main(list(arguments))
    except SystemExit as stop:
        return int(stop.code or 0)
    return 0


def small_fit(*more: str) -> int:
    return sup("fit", "--config", TOY, *SMALL, *more)


def last_weights(run: str) -> dict[str, Any]:
    return torch.load(Path("lightning_logs") / "toy_relu-output_5-2" / run / "checkpoints" / "last.ckpt")["state_dict"]


@pytest.fixture(scope="module")
def once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of all runs after one small one, `version_0`."""
    folder = tmp_path_factory.mktemp("once")
    with contextlib.chdir(folder), mock.patch.object(sys, "argv", ["sup"]):
        assert small_fit() == 0
    return folder / "lightning_logs"


@pytest.fixture
def finished(once: Path) -> Path:
    """Here a small run was made before: its directory."""
    shutil.copytree(once, "lightning_logs")
    return Path("lightning_logs/toy_relu-output_5-2/version_0")


def test_help_is_quick_and_needs_no_torch() -> None:
    block_torch = "import sys; sys.modules['torch'] = None; from sup_lightning.cli import main; main(['--help'])"
    start = time.perf_counter()
    shown = subprocess.run([sys.executable, "-c", block_torch], capture_output=True, text=True, check=True)
    assert time.perf_counter() - start < 1
    for command in cli.COMMANDS:
        assert f"\n  {command} " in shown.stdout


def test_help_of_a_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert sup("fit", "--help") == 0
    shown = capsys.readouterr().out
    for option in ("--seed_everything", "--experiment", "--version", "--sweep.seed", "--checkpoint.every_n_steps"):
        assert option in shown


MISTAKES = {
    "ft": "there is no command 'ft' (did you mean fit?); commands: fit, validate, test, predict",
    "compare here there": "here is not a run; allowed: a run directory, with config.yaml and run.yaml, or a study's",
    "compare here": "the following arguments are required: second",
    "export": "the following arguments are required: ",
    "export nope.ckpt --to out": "checkpoint is 'nope.ckpt', which does not exist",
    "export nope.ckpt --too out": "--too is not an option (did you mean to?)",
    "fit --config nope.yaml": "config: File does not exist:",
    "fit": "the following arguments are required: fit.data, fit.model",
    "--data.n_featres 5": "data.n_featres is not an option (did you mean n_features?)",
    "--data.n_features five": "data.n_features is 'five'; allowed: int",
    "--data.n_features -5": "n_features is -5; allowed: a positive integer",
    "--data.feature_probability 1.5": "feature_probability is 1.5; allowed: numbers in (0, 1]",
    "--data.feature_probability 0": "feature_probability is 0.0; allowed: numbers in (0, 1]",
    "--data.features IndependentFeature": "data.features is 'IndependentFeature', which is no class that is known "
    "(did you mean IndependentFeatures?)",
    "--model Toymodl": "model is 'Toymodl', which is no class that is known (did you mean ToyModel?)",
    "--model.net Bottlenek": "model.net is 'Bottlenek', which is no class that is known "
    "(did you mean BottleneckModel?)",
    "--model.net.init_args.n_hidn 2": "model.net.n_hidn is not an option (did you mean n_hidden?)",
    "--model.net.init_args.n_hidden 0": "n_hidden is 0; allowed: a positive integer",
    "--model.net.init_args.activation swish": "model.net.activation is 'swish'; allowed: relu, linear, gelu, gelu_new, "
    "silu, softplus",
    "--model.net.init_args.hidden_activation swish": "model.net.hidden_activation is 'swish'; allowed: relu, linear",
    "--model.net ComputationModel --model.net.init ones": "model.net.init is 'ones'; allowed: xavier, he, transpose",
    "--model.net ComputationModel --model.net.n_outputs 3 --model.net.init transpose": "init is 'transpose'; allowed: "
    "xavier or he, as 5 features have 3 outputs",
    "--data.features CorrelatedSets": "n_features is 5; allowed: a multiple of set_size, which is 2",
    "--data.features CorrelatedSets --data.features.set_size 0": "set_size is 0; allowed: a positive integer",
    "--data.features CorrelatedSets --data.features.set_size 5 --data.feature_probability [.1,.1,.1,.1,.2]": ""
    "feature_probability is [0.1, 0.1, 0.1, 0.1, 0.2]; allowed: the same for the 5 features of a set",
    "--data.features AnticorrelatedSets --data.features.probability_of pair": "data.features.probability_of is 'pair'; "
    "allowed: set, feature",
    "--data.features AnticorrelatedSets --data.features.set_size 5 --data.features.probability_of feature "
    "--data.feature_probability 0.3": "feature_probability is 0.3; allowed: at most 1/5, as only one of the 5 features",
    "--data.features ExactlyKActive": "feature_probability is 0.05; allowed: k / n_features = 1/5, or nothing (null)",
    "--data.features ExactlyKActive --data.features.k 6": "k is 6; allowed: at most n_features, which is 5",
    "--data.features IndependentFeatures --data.features.values ConstantValue --data.features.values.value 0": ""
    "value is 0.0; allowed: finite numbers that are not 0, as 0 means that a feature does not fire",
    "--data.features IndependentFeatures --data.features.values DiscreteValues": "data: features: values: "
    "the following arguments are required: levels",
    "--data.features IndependentFeatures --data.features.values DiscreteValues --data.features.values.levels [1,1]": ""
    "levels is [1.0, 1.0]; allowed: at least one number, all different",
    "--data.features IndependentFeatures --data.features.values SignedValue": "data.features.values is 'SignedValue', "
    "which is no class that is known (did you mean SignedValues?)",
    "--data.task AbsoluteValu": "data.task is 'AbsoluteValu', which is no class that is known (did you mean "
    "AbsoluteValue?)",
    "--trainer.callbacks+=WeightSnapshots --trainer.callbacks.per_decade=0": ""
    "per_decade is 0; allowed: a positive integer",
    "--model.n_features 7": "model.n_features is 7, but data.n_features is 5; leave the model's out",
    "--model.optimizer Adm": "model.optimizer is 'Adm', which is no class that is known (did you mean Adam?)",
    "--model.optimizer.lr x": "model.optimizer.lr is 'x'; allowed: float",
    "--data.feature_probability many": "data.feature_probability is 'many'; allowed: float",
    "--trainer.max_epoch 3": "--trainer.max_epoch is not an option (did you mean trainer.max_epochs?)",
    "--trainer.max_epochs -5": "`max_epochs` must be a non-negative integer or -1. You passed in -5.",
    "--trainer.callbacks+=GeometryFigurs": "trainer.callbacks is 'GeometryFigurs', which is no class that is known "
    "(did you mean GeometryFigures?)",
    "--sweep.sed 3": "--sweep.sed is not an option (did you mean sweep.seed?)",
    "--sweep.feature_probability [0.1,2]": "feature_probability is 2.0; allowed: numbers in (0, 1]",
    "--ckpt_path last": "nothing to resume: no run in lightning_logs/toy_relu-output_5-2 has a checkpoints/last.ckpt",
    "--ckpt_path missing.ckpt": "ckpt_path is 'missing.ckpt', which does not exist",
    "--experiment a/b": "experiment is 'a/b'; allowed: letters, digits and . _ = + -",
    "--threads 0": "threads is 0; allowed: a positive integer",
    "--checkpoint.every_n_steps -1": "every_n_steps is -1; allowed: a positive integer",
}


@pytest.mark.parametrize("arguments", MISTAKES)
def test_a_mistake_is_one_line_and_status_2(arguments: str, capfd: pytest.CaptureFixture[str]) -> None:
    status = sup(*arguments.split()) if not arguments.startswith("--") else small_fit(*arguments.split())
    shown = [line for line in capfd.readouterr().err.splitlines() if line.startswith("sup: ") or "Traceback" in line]
    assert status == 2
    assert len(shown) == 1
    assert shown[0].startswith(f"sup: error: {MISTAKES[arguments]}")
    assert not Path("lightning_logs").exists()


LANGUAGE_MISTAKES = {
    "--data.n_ctx 100000": "n_ctx is 100000; allowed: at most ",
    "--data.sources [{class_path:LocalText,init_args:{paths:[nowhere]}}]": "paths has 'nowhere', which matches nothing",
    "--data.sources [{class_path:LocalText,init_args:{paths:[binary]}}]": "binary/blob.txt",
    "--data.sources [{class_path:LocalText,init_args:{paths:[empty]}}]": "",
    "--model.n_heads 3": "n_heads is 3; allowed: ",
    "--model.d_vocab 7": "model.d_vocab is 7, but data.d_vocab is 400; leave the model's out",
    "--model.activation swish": "activation is 'swish'; allowed: ",
}


@pytest.mark.parametrize("arguments", LANGUAGE_MISTAKES)
def test_a_language_mistake_is_one_line_and_status_2(arguments: str, capfd: pytest.CaptureFixture[str]) -> None:
    for folder, content in (("text", b"some words " * 50), ("binary", bytes(range(256)) * 9), ("empty", b"")):
        Path(folder).mkdir()
        for number in range(150 if folder == "text" else 1):
            Path(folder, "blob.txt" if number == 0 else f"{number}.txt").write_bytes(
                content + bytes(str(number), "ascii")
            )
    Path("empty/blob.txt").write_bytes(b"")
    sources = "[{class_path: LocalText, init_args: {paths: [text]}}]"
    option, value = arguments.split(" ", 1)
    value = value.replace(":", ": ")
    config = str(ROOT / "configs" / "experiment" / "lm_gelu-1l.yaml")
    status = sup("fit", "--config", config, "--data.sources", sources, "--data.d_vocab", "400", option, value)
    shown = [line for line in capfd.readouterr().err.splitlines() if line.startswith("sup: ") or "Traceback" in line]
    assert status == 2
    assert len(shown) == 1
    assert LANGUAGE_MISTAKES[arguments] in shown[0]


def test_an_export_from_the_shell(capsys: pytest.CaptureFixture[str]) -> None:
    golden = ROOT / "tests" / "golden" / "checkpoint" / "model.ckpt"
    assert sup("export", str(golden), "--to", "models/tiny") == 0
    assert "Export: models/tiny" in capsys.readouterr().out
    assert sup("export", str(golden), "--to", "models/tiny") == 2
    assert "models/tiny exists; choose another folder" in capsys.readouterr().err
    assert sup("export", str(golden), "--to", "models/tiny", "--overwrite", "--no-check") == 0
    assert "Export: models/tiny (not checked)" in capsys.readouterr().out
    assert sup("export", str(golden), "--to", "models/other", "--no-check", "--push-to-hub", "me/tiny") == 2
    assert "models/other cannot be pushed to me/tiny on the hub" in capsys.readouterr().err  # there is no network


def test_ctrl_c_saves_and_exits_with_130() -> None:
    """A real Ctrl-C to the real command."""
    endless = ["--version", "run", "--trainer.max_epochs", "-1"]
    command = [sys.executable, "-m", "sup_lightning", "fit", "--config", TOY, *SMALL, *endless]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith("epoch 0"):
                break
        process.send_signal(signal.SIGINT)
        rest = process.stderr.read()
    assert process.returncode == cli.INTERRUPTED
    assert "resume from lightning_logs/toy_relu-output_5-2/run/checkpoints/last.ckpt with --ckpt_path last" in rest
    assert "Traceback" not in rest
    assert last_weights("run")


def test_two_runs_are_compared(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert small_fit("--version", "other", "--data.feature_probability", "0.5") == 0
    capsys.readouterr()
    assert sup("compare", str(finished), str(finished.with_name("other"))) == 0
    shown = capsys.readouterr().out
    assert "feature_probability" in shown
    assert "val/loss" in shown
    assert "max_epochs" not in shown  # the same


def test_debug_shows_the_traceback(capfd: pytest.CaptureFixture[str]) -> None:
    assert small_fit("--data.n_features", "0", "--debug") == 2
    assert "Traceback" in capfd.readouterr().err


def test_a_run_never_overwrites_another(finished: Path, capfd: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(finished, finished.with_name("mine"))
    before = last_weights("mine")
    assert small_fit("--version", "mine", "--seed_everything", "1") == 2
    assert "lightning_logs/toy_relu-output_5-2/mine already holds a run" in capfd.readouterr().err
    assert same_weights(before, last_weights("mine"))
    assert small_fit() == 0
    folders = sorted(path.name for path in Path("lightning_logs/toy_relu-output_5-2").iterdir())
    assert folders == ["mine", "version_0", "version_1"]


def test_a_run_that_fails_at_once_leaves_its_name_free() -> None:
    assert small_fit("--version", "mine", "--trainer.max_epochs", "1", "--model.optimizer.lr", "1e30") == 2
    assert small_fit("--version", "mine", "--trainer.max_epochs", "1") == 0


def test_an_unwritable_run_directory(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    Path("locked").mkdir(mode=0o500)
    access = os.access  # root may write everywhere, so ask as another user would
    monkeypatch.setattr(os, "access", lambda path, mode: access(path, mode) and Path(path).name != "locked")
    assert small_fit("--runs", "locked") == 2
    assert "cannot be written to" in capfd.readouterr().err


def test_a_file_where_the_run_directory_should_be(capfd: pytest.CaptureFixture[str]) -> None:
    Path("taken").write_text("")
    assert small_fit("--runs", "taken") == 2
    assert "the run directory taken/toy_relu-output_5-2 cannot be written to" in capfd.readouterr().err


def test_resume_continues_the_newest_run_in_place() -> None:
    assert small_fit("--version", "whole", "--trainer.max_epochs", "3") == 0
    assert small_fit("--version", "parts", "--trainer.max_epochs", "1") == 0
    assert small_fit("--ckpt_path", "last", "--trainer.max_epochs", "3") == 0
    assert same_weights(last_weights("whole"), last_weights("parts"))
    assert sorted(path.name for path in Path("lightning_logs/toy_relu-output_5-2").iterdir()) == ["parts", "whole"]


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("--data.feature_probability=0.3", "made with data.feature_probability="),
        ("--data.batch_size=64", "made with data.batch_size=32, but the config has 64"),
        ("--model.optimizer.lr=0.1", "made with the optimizer's lr=0.003, but the config has 0.1"),
    ],
)
def test_resuming_with_other_data_or_optimiser_is_refused(
    option: str, said: str, finished: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert small_fit("--ckpt_path", "last", "--trainer.max_epochs", "3", option) == 2
    assert said in capfd.readouterr().err


def test_a_schedule_may_be_lengthened() -> None:
    total = "--model.lr_scheduler.total_steps"
    assert small_fit("--trainer.max_epochs", "1", total, "20") == 0
    before = last_weights("version_0")
    assert small_fit("--ckpt_path", "last", "--trainer.max_epochs", "2", total, "40") == 0
    assert not same_weights(before, last_weights("version_0"))  # with the old length the rate would be 0


def test_every_row_of_the_table_belongs_to_its_step() -> None:
    """Epochs end at 20 and 40, the run at 30 with no validation: its row has no loss, least of all an older one."""
    assert small_fit("--trainer.max_steps", "30") == 0
    table = pd.read_csv("lightning_logs/toy_relu-output_5-2/version_0/instances.csv")
    assert table["step"].tolist() == [20, 20, 30, 30]
    assert table["loss"].isna().tolist() == [False, False, True, True]
    assert table["total_dimensionality"].notna().all()


def test_measuring_needs_a_checkpoint(capfd: pytest.CaptureFixture[str]) -> None:
    assert sup("validate", "--config", TOY) == 2
    assert "validate needs --ckpt_path: last, or the path of a checkpoint" in capfd.readouterr().err


def test_a_network_that_does_not_fit_the_task(capfd: pytest.CaptureFixture[str]) -> None:
    assert small_fit("--model.net", "ComputationModel", "--model.net.n_outputs", "3") == 2
    assert "the task has 5 outputs, but ComputationModel has 3" in capfd.readouterr().err
    assert not Path("lightning_logs").exists()


def test_a_law_that_fixes_the_probability() -> None:
    options = "--data.features ExactlyKActive --data.features.k 2 --data.feature_probability null --version run"
    assert small_fit(*options.split()) == 0
    saved = yaml.safe_load(Path("lightning_logs/toy_relu-output_5-2/run/config.yaml").read_text())
    assert saved["data"]["init_args"]["feature_probability"] is None
    assert small_fit("--ckpt_path", "last", *options.split(), "--trainer.max_epochs", "3") == 0


def test_a_sweep_of_a_module_that_has_no_instances_is_refused(capfd: pytest.CaptureFixture[str]) -> None:
    config = str(ROOT / "configs" / "experiment" / "lm_gelu-1l.yaml")
    assert sup("fit", "--config", config, "--sweep.seed", "4") == 2
    assert "the sweep has several instances, but TextData trains one" in capfd.readouterr().err


def test_runs_started_together_have_directories_of_their_own() -> None:
    first, second = RunDirectory("runs", "x"), RunDirectory("runs", "x")
    assert (first.version, second.version) == ("version_0", "version_1")
    second.release()
    first.release()
    assert not Path("runs").exists()


def test_a_saved_config_leaves_the_seed_open() -> None:
    """So that --seed_everything still seeds everything when the config is used again."""
    Path("text").mkdir()
    for number in range(150):
        Path(f"text/{number}.txt").write_text(f"some words {number} " * 50)
    sources = "[{class_path: LocalText, init_args: {paths: [text]}}]"
    config = str(ROOT / "configs" / "experiment" / "lm_gelu-1l.yaml")
    short = [
        "--model.compile",
        "false",
        "--data.d_vocab",
        "400",
        "--data.n_ctx",
        "16",
        "--trainer.max_steps",
        "1",
        "--trainer.callbacks",
        "[]",
    ]
    assert sup("fit", "--config", config, "--version", "a", "--data.sources", sources, *short) == 0
    saved = Path("lightning_logs/lm_gelu-1l/a/config.yaml")
    settings = yaml.safe_load(saved.read_text())
    assert settings["model"]["init_args"]["seed"] is None
    assert settings["data"]["init_args"]["seed"] is None


def test_a_corrupt_checkpoint_is_one_line(finished: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (finished / "checkpoints" / "last.ckpt").write_bytes(b"no")
    assert small_fit("--ckpt_path", "last") == 2
    assert "which is not a readable checkpoint" in capfd.readouterr().err


def test_the_saved_config_repeats_the_run_bit_for_bit() -> None:
    more = ("--model.dropout", "0.1", "--sweep.feature_probability", "[0.1,0.3]", "--model.optimizer.lr", "0.003")
    assert small_fit("--version", "first", *more) == 0
    saved = "lightning_logs/toy_relu-output_5-2/first/config.yaml"
    assert sup("fit", "--config", saved, "--version", "again") == 0
    assert same_weights(last_weights("first"), last_weights("again"))


def test_the_config_of_a_resumed_run_starts_a_new_one(finished: Path) -> None:
    assert small_fit("--ckpt_path", "last", "--trainer.max_epochs", "3") == 0
    assert sup("fit", "--config", str(finished / "config.yaml")) == 0
    assert same_weights(last_weights("version_0"), last_weights("version_1"))


def test_measuring_a_checkpoint_leaves_no_files(finished: Path, capfd: pytest.CaptureFixture[str]) -> None:
    before = sorted(Path().rglob("*"))
    saved = str(finished / "config.yaml")
    for checkpoint in ("last", str(finished / "checkpoints" / "last.ckpt")):
        for command in ("validate", "test"):
            assert sup(command, "--config", saved, "--ckpt_path", checkpoint) == 0
    assert sorted(Path().rglob("*")) == before
    shown = capfd.readouterr().out
    assert "val/loss" in shown
    assert "test/loss" in shown


def test_predictions_are_those_of_the_model(finished: Path) -> None:
    assert sup("predict", "--config", str(finished / "config.yaml"), "--ckpt_path", "last") == 0
    (output,) = torch.load(finished / "predictions.pt")
    model = ToyModel.load_from_checkpoint(finished / "checkpoints" / "last.ckpt")
    data = SyntheticFeatures(5, sweep={"seed": 2}, val_batch_size=64)
    expected = model(data.batch("validation", 0, range(64), 64).features)
    torch.testing.assert_close(output, expected)


def test_resuming_with_other_settings_is_refused(finished: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert small_fit("--ckpt_path", "last", "--model.importance_decay", "0.9") == 2
    assert "made with importance_decay=1.0, but the config has 0.9" in capfd.readouterr().err
    assert small_fit("--ckpt_path", "last", "--sweep.seed", "3") == 2
    assert "made with sweep={'seed': [0, 1]}, but the config has {'seed': [0, 1, 2]}" in capfd.readouterr().err
    assert small_fit("--ckpt_path", "last", "--model.net.n_hidden", "3") == 2
    assert "made with net={" in capfd.readouterr().err


def test_print_config_is_a_config(capfd: pytest.CaptureFixture[str]) -> None:
    assert small_fit("--print_config") == 0
    printed = yaml.safe_load(capfd.readouterr().out)
    assert printed["data"]["class_path"].endswith("SyntheticFeatures")
    assert printed["model"]["init_args"]["net"]["init_args"]["n_hidden"] == 2
    assert printed["model"]["init_args"]["optimizer"]["init_args"]["weight_decay"] == 0
    assert printed["sweep"]["seed"] == 2


def test_the_python_api_is_the_command_line(finished: Path) -> None:
    trainer = {"max_epochs": 2, "callbacks": [{"class_path": "SuperpositionMonitor"}]}
    data = {"steps_per_epoch": 20, "batch_size": 32, "val_batches": 1, "val_batch_size": 64}
    run = fit(TOY, version="called", sweep={"seed": 2}, data=data, trainer=trainer, threads=1)
    assert isinstance(run, Run)
    assert run.directory == Path("lightning_logs/toy_relu-output_5-2/called")
    assert same_weights(last_weights(finished.name), last_weights("called"))
    assert len(run.instances) == 4  # two epochs of two instances
    assert run.metrics["val/loss"] == pytest.approx(run.instances.tail(2)["loss"].mean(), rel=1e-5)


def test_a_run_under_ddp_from_the_shell(finished: Path) -> None:
    """The installed command, two processes that it launches itself, one run directory."""
    command = [sys.executable, "-m", "sup_lightning", "fit", "--config", TOY, *SMALL, "--version", "two"]
    subprocess.run([*command, "--trainer.devices", "2", "--trainer.strategy", "ddp"], check=True, capture_output=True,
                   env={**os.environ, "OMP_NUM_THREADS": "1"}, timeout=100)  # fmt: skip
    one, two = last_weights(finished.name), last_weights("two")
    for name in one:
        torch.testing.assert_close(one[name], two[name], rtol=0, atol=1e-6)
    assert (ROOT / "configs").is_dir()
    assert sorted(path.name for path in Path("lightning_logs/toy_relu-output_5-2").iterdir()) == ["two", "version_0"]


def test_what_is_not_trained_writes_nothing() -> None:
    built = untrained(options_of(TOY, data={"val_batches": 1, "val_batch_size": 64}))
    built.trainer.validate(built.model, built.data, verbose=False)
    assert not list(Path().iterdir())
