"""`sup sweep`: a grid of runs that ends in one table, and goes on after a kill."""

import os
import signal
from pathlib import Path

import pandas as pd
import pytest

from sup_lightning.callbacks.checkpoint import LAST, LastCheckpoint
from sup_lightning.cli import main
from tests.helpers import TOY

GRID = ["sweep", "--config", TOY, "--over", "model.net.n_hidden=2,3", "--over", "model.net.activation=relu,linear"]
SMALL = [
    "--trainer.max_epochs=2",
    "--trainer.log_every_n_steps=10",
    "--trainer.enable_progress_bar=false",
    "--sweep.seed=2",
    "--data.steps_per_epoch=20",
    "--data.val_batch_size=64",
    "--data.val_batches=1",
]


def test_grid_ends_in_one_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = tmp_path / "table.csv"
    main([*GRID, *SMALL, f"--runs={tmp_path}", f"--table={table}"])
    rows = pd.read_csv(table)
    assert rows["model.net.n_hidden"].tolist() == [2, 2, 3, 3]
    assert rows["model.net.activation"].tolist() == ["relu", "linear"] * 2
    assert rows["val/loss"].between(0, 0.2).all()
    assert rows["directory"].nunique() == 4
    assert "activation" in capsys.readouterr().out


def _killed_at_save(number: int, arguments: list[str]) -> None:
    """Run `sup` in a child that is killed when it writes its n-th checkpoint."""
    child = os.fork()
    if child == 0:
        saves = iter(range(number))
        save = LastCheckpoint._save

        def count(self: LastCheckpoint, trainer: object) -> Path:
            if next(saves, None) is None:
                os.kill(os.getpid(), signal.SIGKILL)
            return save(self, trainer)  # type: ignore[arg-type]

        LastCheckpoint._save = count  # type: ignore[method-assign]
        try:
            main(arguments)
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL


def test_a_killed_sweep_goes_on(tmp_path: Path) -> None:
    arguments = [*GRID, *SMALL]
    main([*arguments, f"--runs={tmp_path / 'whole'}", f"--table={tmp_path / 'whole.csv'}"])
    cut = [*arguments, f"--runs={tmp_path / 'cut'}", f"--table={tmp_path / 'cut.csv'}"]
    _killed_at_save(3, cut)  # in the second epoch of the second run
    finished = tmp_path / "cut" / "toy_relu-output_5-2"
    first = min((path.stat().st_mtime_ns, path) for path in finished.glob(f"*/{LAST}"))
    main(cut)
    assert first[1].stat().st_mtime_ns == first[0]  # not trained again
    volatile = ["seconds", "directory"]
    whole, resumed = (pd.read_csv(tmp_path / f"{name}.csv").drop(columns=volatile) for name in ("whole", "cut"))
    pd.testing.assert_frame_equal(whole, resumed, check_exact=True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--config", TOY], "sup sweep needs --over NAME=VALUES"),
        (["--config", TOY, "--over", "model.net.n_hidden"], "--over is 'model.net.n_hidden'; allowed: NAME=VALUES"),
        (["--config", TOY, "--over", "model.net.n_hidden=2,2"], "values that differ"),
        (["--config", TOY, "--over", "model.net.n_hidden=[2,"], "allowed: comma-separated values, or a YAML list"),
        (["--config", TOY, "--over", "model.net.n_hiden=2,3"], "n_hiden is not an option (did you mean n_hidden?)"),
        (["--config", TOY, "--over", "model.net.n_hidden=2,none"], "model.net.n_hidden is 'none'; allowed: int"),
        (["--config", "nowhere.yaml", "--over", "model.net.n_hidden=2,3"], "nowhere.yaml"),
        (["--config", TOY, "--version", "x", "--over", "a=1,2"], "--version is not an option of sup sweep"),
        (["stray", "--over", "a=1,2"], "'stray' is not an option"),
    ],
)
def test_bad_input_is_one_line_before_anything_is_trained(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        main(["sweep", *arguments, f"--runs={tmp_path / 'runs'}"])
    assert end.value.code == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("sup: error")]
    assert message in line
    assert not (tmp_path / "runs").exists()
