"""Who may import whom, and that importing is quick."""

import ast
import importlib
import pkgutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import sup_lightning

PACKAGE = Path(sup_lightning.__file__).parent

MAY_IMPORT = {
    "functional": {"functional", "errors"},
    "metrics": {"functional", "metrics", "errors"},
    "plotting": {"functional", "plotting", "errors"},
    "nn": {"functional", "nn", "errors"},
    "data": {"functional", "data", "errors", "sweep"},
    "modules": {"functional", "metrics", "nn", "modules", "errors", "sweep", "checkpoint_io"},
    "callbacks": {"functional", "metrics", "plotting", "callbacks", "errors", "sweep", "snapshot_io"},
}
WITHOUT_LIGHTNING = ("functional", "nn", "plotting")
LATE = {"transformer_lens", "datasets", "transformers", "sklearn", "scipy"}


def imports(path: Path) -> Iterator[tuple[str, bool]]:
    """Modules that a file imports, and whether at its top level."""
    tree = ast.parse(path.read_text())
    top = set(tree.body)
    for node in ast.walk(tree):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} has a relative import"
            # `from sup_lightning import data` imports a part as much as `from sup_lightning.data import ...`
            parts = [f"{node.module}.{alias.name}" for alias in node.names]
            names = parts if node.module == "sup_lightning" else [str(node.module)]
        for name in names:
            yield name, node in top


def test_imports_go_one_way() -> None:
    for folder, allowed in MAY_IMPORT.items():
        for path in (PACKAGE / folder).rglob("*.py"):
            for name, _ in imports(path):
                if name.startswith("sup_lightning."):
                    assert name.split(".")[1] in allowed, f"{path.name} imports {name}"


def test_only_the_command_line_knows_the_command_line() -> None:
    for path in PACKAGE.rglob("*.py"):
        if path.name not in ("cli.py", "__main__.py"):
            assert all(name != "sup_lightning.cli" for name, _ in imports(path)), path


def test_networks_and_functions_need_no_lightning() -> None:
    for folder in WITHOUT_LIGHTNING:
        for path in (PACKAGE / folder).rglob("*.py"):
            assert all(name.split(".")[0] not in ("lightning", "torchmetrics") for name, _ in imports(path)), path


def test_heavy_libraries_are_loaded_late() -> None:
    for path in PACKAGE.rglob("*.py"):
        if path.parent.name != "interop":
            assert not {name.split(".")[0] for name, top in imports(path) if top} & LATE, path


def test_everything_can_be_imported() -> None:
    for module in pkgutil.walk_packages([str(PACKAGE)], "sup_lightning."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)


def test_importing_the_package_loads_nothing_heavy() -> None:
    code = "import sys, sup_lightning; print(*{'torch', 'lightning', 'numpy', 'matplotlib'} & set(sys.modules))"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == ""


def test_training_loads_no_library_of_the_studies() -> None:
    """pandas alone is 60 MB, in every process of a training run."""
    code = (
        "import sys, sup_lightning.lightning_cli; print(*{'pandas', 'sklearn', 'transformer_lens'} & set(sys.modules))"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == ""
