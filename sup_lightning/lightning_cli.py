"""`sup fit`, `validate`, `test` and `predict`: LightningCLI with checked links, run directories and short errors."""

import signal
import sys
import threading
from pathlib import Path
from typing import Any, NoReturn

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import ProgressBar
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI, SaveConfigCallback
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities.rank_zero import rank_zero_info

# Imported so that configs can name these classes without their modules.
from sup_lightning import callbacks, data, modules, nn  # noqa: F401
from sup_lightning.callbacks.checkpoint import LastCheckpoint
from sup_lightning.callbacks.progress import StepProgressBar
from sup_lightning.callbacks.run_record import RunRecord
from sup_lightning.checkpoint_io import AtomicCheckpointIO, read_checkpoint
from sup_lightning.errors import UserError, require_positive
from sup_lightning.modules import ToyModel
from sup_lightning.run_directory import RunDirectory
from sup_lightning.sweep import Sweep
from sup_lightning.usage import cause, explain

LINKS = ("n_features", "d_vocab", "n_ctx")
"""Sizes that the data sets and the model must share."""


class SupArgumentParser(LightningArgumentParser):
    """A parser whose errors are one line, and which takes no abbreviation: it might be another option tomorrow."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, allow_abbrev=False, **kwargs)

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        raise UserError(explain(message, self._option_names())) from ex

    def _option_names(self) -> list[str]:
        parsers = [self, *self._subcommands_action._name_parser_map.values()] if self._subcommands_action else [self]
        flags = [flag for parser in parsers for action in parser._actions for flag in action.option_strings]
        return [flag.removeprefix("--") for flag in flags]


class SupCLI(LightningCLI):
    """LightningCLI in subclass mode; every part of an experiment is named in its config."""

    def __init__(self, args: list[str] | None = None) -> None:
        self.run_directory: RunDirectory | None = None
        self.checkpoint: Path | None = None
        super().__init__(
            pl.LightningModule,
            pl.LightningDataModule,
            subclass_mode_model=True,
            subclass_mode_data=True,
            seed_everything_default=0,
            auto_configure_optimizers=False,
            save_config_callback=SaveConfigCallback,
            save_config_kwargs={"overwrite": True},
            trainer_defaults={"enable_model_summary": False},
            parser_class=SupArgumentParser,
            args=args,
        )

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        """The one that was asked for alone: making the options of all takes longer than many a toy run."""
        known = LightningCLI.subcommands()
        return {name: known[name] for name in sys.argv[1:2] if name in known} or known

    def add_default_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        parser.add_argument(
            "--seed_everything", type=int, default=0, help="Seed of initial weights, batches and dropout (default: 0)."
        )
        parser.add_argument("--experiment", type=str, default="default", help="Name of the experiment's folder.")
        parser.add_argument("--version", type=str | None, help="Name of the run; the next free number if left out.")
        parser.add_argument("--runs", type=str, default="lightning_logs", help="Folder of all runs.")
        parser.add_argument("--threads", type=int | None, help="CPU threads; small models are fastest with 1.")

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        parser.add_class_arguments(Sweep, "sweep")
        parser.add_lightning_class_args(LastCheckpoint, "checkpoint")
        parser.link_arguments("seed_everything", "sweep.first_seed")
        for part in ("data", "model"):
            parser.link_arguments("sweep", f"{part}.init_args.sweep", Sweep.as_dict, apply_on="instantiate")
        for name in LINKS:
            parser.link_arguments(f"data.{name}", f"model.init_args.{name}", apply_on="instantiate")

    def _parse_ckpt_path(self) -> None:
        """The config describes the model; a checkpoint does not change it behind the user's back."""

    @property
    def settings(self) -> Any:
        """The config of the present subcommand."""
        return self.config[self.subcommand]

    def before_instantiate_classes(self) -> None:
        """Fill what is left open from what is given, and choose the run directory."""
        if self.settings.threads is not None:
            require_positive(threads=self.settings.threads)
            torch.set_num_threads(self.settings.threads)
        self._choose_run()
        if self.subcommand != "fit":
            self.save_config_callback = None  # measuring leaves no files

    def _choose_run(self) -> None:
        """Find the run directory and the checkpoint; what is chosen here does not enter the saved config."""
        settings = self.settings
        last = settings.ckpt_path == "last"
        if settings.ckpt_path and not last:
            self.checkpoint = Path(settings.ckpt_path)
            read_checkpoint(self.checkpoint)
        elif not last and self.subcommand != "fit":
            raise UserError(f"{self.subcommand} needs --ckpt_path: last, or the path of a checkpoint")
        if self.subcommand == "fit" or last:
            self.run_directory = RunDirectory(settings.runs, settings.experiment, settings.version, resume=last)
        if last:
            assert self.run_directory is not None
            self.checkpoint, settings.ckpt_path = self.run_directory.last_checkpoint, None
            read_checkpoint(self.checkpoint)

    def _prepare_subcommand_kwargs(self, subcommand: str) -> dict[str, Any]:
        checkpoint = {} if self.checkpoint is None else {"ckpt_path": self.checkpoint}
        return super()._prepare_subcommand_kwargs(subcommand) | checkpoint

    def instantiate_classes(self) -> None:
        open_seeds = [
            arguments
            for arguments in (self.settings.data.init_args, self.settings.model.init_args)
            if "seed" in arguments and arguments.seed is None
        ]
        for arguments in open_seeds:
            arguments.seed = self.settings.seed_everything
        try:
            super().instantiate_classes()
            self._check_links()
        except BaseException as error:
            if self.run_directory is not None:
                self.run_directory.release()
            raise cause(error) from error  # the parser wraps what constructors say
        for arguments in open_seeds:  # the saved config leaves open what was left open
            arguments.seed = None

    def _check_links(self) -> None:
        """A size that the user gives for the model as well must be the one that the data has."""
        given = self.settings.model.init_args
        for name in LINKS:
            linked = getattr(self.datamodule, name, None)
            if name in given and given[name] is not None and linked is not None and given[name] != linked:
                raise UserError(f"model.{name} is {given[name]}, but data.{name} is {linked}; leave the model's out")
        if isinstance(self.model, ToyModel):
            self.model.check_data(self.datamodule)  # before anything is written
        if self._get(self.config_init, "sweep").n_instances > 1:
            for part in ("data", "model"):
                if "sweep" not in self.settings[part].init_args:
                    name = self.settings[part].class_path.rpartition(".")[2]
                    raise UserError(f"the sweep has several instances, but {name} trains one: it has no argument sweep")

    def instantiate_trainer(self, **kwargs: Any) -> pl.Trainer:
        """The trainer of the config, with what every run has: logger, checkpoint, bar, record, atomic files."""
        trainer = self.config_init[self.subcommand].trainer
        directory = self.run_directory
        if self.subcommand == "fit" and directory is not None and trainer.logger in (None, True):
            kwargs["logger"] = TensorBoardLogger(
                directory.root, directory.experiment, directory.version, default_hp_metric=False
            )
        if directory is not None and trainer.default_root_dir is None:
            kwargs["default_root_dir"] = directory.path
        given = list(trainer.callbacks or [])
        if trainer.enable_progress_bar is not False and not any(isinstance(c, ProgressBar) for c in given):
            given.append(StepProgressBar())
        if self.subcommand == "fit":
            given.append(RunRecord(self._plain_settings(), self.settings.seed_everything))
        else:
            kwargs.setdefault("logger", False)
        kwargs["callbacks"] = given
        if not trainer.plugins:
            kwargs["plugins"] = [AtomicCheckpointIO()]
        made = super().instantiate_trainer(**kwargs)
        for callback in made.callbacks:  # type: ignore[attr-defined]
            if isinstance(callback, LastCheckpoint) and directory is not None:
                callback.directory = directory.path
        return made

    def _plain_settings(self) -> dict[str, Any]:
        self._dump_config()
        return {name: self.config_dump[name] for name in ("experiment", "sweep", "model", "data", "trainer")}

    def fit(self, **kwargs: Any) -> None:
        """Train; what is launched from here writes to the same run directory.

        Raises:
            KeyboardInterrupt: After Ctrl-C; Lightning itself would end the process, and ignore the next one.
        """
        assert self.run_directory is not None
        rank_zero_info(f"Run directory: {self.run_directory.path}")
        self.run_directory.share_with_ranks()
        on_interrupt = signal.getsignal(signal.SIGINT)
        try:
            self.trainer.fit(**kwargs)
        except SystemExit:
            if self.trainer.interrupted:
                raise KeyboardInterrupt from None
            raise
        finally:
            self.run_directory.forget()
            self.run_directory.release()
            if threading.current_thread() is threading.main_thread():
                signal.signal(signal.SIGINT, on_interrupt)

    def predict(self, **kwargs: Any) -> None:
        """Save what the model says of each validation batch, as a list of tensors in `predictions.pt`."""
        if self.trainer.world_size > 1:
            raise UserError(f"predict runs on one device, not on {self.trainer.world_size}; set trainer.devices to 1")
        predictions = self.trainer.predict(**kwargs)
        target = (self.log_dir or Path.cwd()) / "predictions.pt"
        torch.save(predictions, target)
        rank_zero_info(f"Predictions of {len(predictions or [])} batches: {target}")

    @property
    def log_dir(self) -> Path | None:
        return self.run_directory.path if self.run_directory else None


class UntrainedCLI(SupCLI):
    """Builds all that a run consists of, and runs nothing."""

    def _choose_run(self) -> None:
        """No directory is claimed, and no config saved where one is: nothing is written."""
        self.save_config_callback = None

    def instantiate_trainer(self, **kwargs: Any) -> pl.Trainer:
        return super().instantiate_trainer(logger=False, **kwargs)

    def _run_subcommand(self, subcommand: str) -> None:
        """Leave the model as it was made."""
