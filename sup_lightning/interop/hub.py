"""The Hugging Face hub, where exports are shared."""

from pathlib import Path

from sup_lightning.errors import UserError

URL = "https://huggingface.co"


def push(folder: Path, repository: str) -> str:
    """Upload an export.

    Args:
        folder: The export.
        repository: `owner/name`; made if it is not there.

    Returns:
        Its address.

    Raises:
        UserError: If the name is no name, the hub cannot be reached, or it does not let you.
    """
    from huggingface_hub import HfApi

    try:
        hub = HfApi()
        hub.create_repo(repository, exist_ok=True)
        hub.upload_folder(repo_id=repository, folder_path=folder)
    except Exception as error:  # the library raises its own, its client's and plain ones, which differ by version
        raise UserError(f"{folder} cannot be pushed to {repository} on the hub ({_first_line(error)})") from None
    return f"{URL}/{repository}"


def fetch(repository: str) -> Path:
    """The local copy of an export on the hub.

    Args:
        repository: `owner/name`.

    Raises:
        UserError: If it is not there, or the hub cannot be reached.
    """
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(repository))
    except Exception as error:  # as above
        raise UserError(
            f"{repository} is no folder here and cannot be had from the hub ({_first_line(error)})"
        ) from None


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
