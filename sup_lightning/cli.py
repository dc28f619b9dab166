"""The command `sup`: quick to answer, and one line for a mistake. Training itself is in `lightning_cli`."""

import importlib.metadata
import os
import sys
import traceback
from collections.abc import Sequence

from sup_lightning.errors import UserError, did_you_mean

HELP = """\
usage: sup <command> [options]

Train, watch and take apart superposition.

commands:
  fit         train a model and measure it at every epoch
  validate    measure a trained model on the validation data
  test        measure a trained model on the test data
  predict     run a trained model on the validation data
  sweep       train a grid of runs, resumable, into one table
  study       answer a question: train, measure, compare with a control, draw, and judge
  studies     list all questions and the answers so far
  report      write a static page of all answers
  compare     say what two runs differ in: settings, metrics, versions
  export      write a language model for use anywhere: weights, settings, tokenizer

examples:
  sup fit --config configs/experiment/toy_relu-output_5-2.yaml
  sup fit --config configs/experiment/toy_relu-output_5-2.yaml --data.feature_probability 0.2 --sweep.seed 8
  sup fit --config configs/experiment/lm_gelu-1l.yaml --ckpt_path last
  sup sweep --config configs/experiment/toy_relu-output_5-2.yaml --over model.net.n_hidden=2,3,4
  sup study M01 --quick
  sup export lightning_logs/lm_gelu-1l/version_0 --to models/gelu-1l
  tensorboard --logdir lightning_logs

options:
  -h, --help  this text; `sup fit --help` lists the options of a command
  --version   the version
  --debug     show the traceback of an error
"""

RUNS = ("fit", "validate", "test", "predict")
COMMANDS = (*RUNS, "sweep", "study", "studies", "report", "compare", "export")
USER_ERROR = 2
INTERRUPTED = 130


def main(args: Sequence[str] | None = None) -> None:
    """Run `sup` and exit: 0 if all went well, 2 for a user's mistake, 130 for an interruption."""
    arguments = list(sys.argv[1:] if args is None else args)
    debug = "--debug" in arguments
    arguments = [argument for argument in arguments if argument != "--debug"]
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        _say(HELP)
        return
    if arguments[0] == "--version":
        _say(f"sup_lightning {importlib.metadata.version('sup_lightning')}\n")
        return
    try:
        _run(arguments)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except Exception as error:
        if debug:
            traceback.print_exc()
        sys.exit(_report(error, debug))


def _run(arguments: list[str]) -> None:
    if arguments[0] not in COMMANDS:
        raise UserError(
            f"there is no command {arguments[0]!r}{did_you_mean(arguments[0], COMMANDS)}; "
            f"commands: {', '.join(COMMANDS)}"
        )
    if os.getcwd() not in sys.path:  # where a user's own classes are; a console script does not look there
        sys.path.insert(0, os.getcwd())
    command, *options = arguments
    if command in RUNS:
        from sup_lightning.experiment import run

        sys.argv[1:] = arguments
        run()
    elif command == "sweep":
        from sup_lightning.grid import sweep

        sweep(options)
    elif command == "compare":
        from sup_lightning.compare import command as compare

        compare(options)
    elif command == "export":
        from sup_lightning.interop.command import export

        export(options)
    else:
        from sup_lightning.studies import command as studies

        {"study": studies.study, "studies": studies.studies, "report": studies.report}[command](options)


def _report(error: Exception, debug: bool) -> int:
    """Print an error in a few lines; return the exit status."""
    from lightning.pytorch.utilities.exceptions import MisconfigurationException

    mistake = isinstance(error, (UserError, MisconfigurationException, OSError))
    named = isinstance(error, (UserError, MisconfigurationException))
    text = str(error) if named else f"{type(error).__name__}: {error}"
    if int(os.environ.get("LOCAL_RANK", 0)) == 0:
        sys.stderr.write(f"sup: error: {text.strip()}\n")
        if not mistake and not debug:
            sys.stderr.write("sup: this looks like a fault of the program; --debug shows where\n")
    return USER_ERROR if mistake else 1


def _say(text: str) -> None:
    sys.stdout.write(text)


if __name__ == "__main__":
    main()
