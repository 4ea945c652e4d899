"""The Hugging Face hub: `user/model` in place of a folder.

The hub's own client carries the files. It takes a token from HF_TOKEN or `hf auth login`; with HF_HUB_OFFLINE=1 it
uses only what was downloaded earlier.
"""

import re
from collections.abc import Sequence
from pathlib import Path

from resvae_ray.errors import DataError, JobError, UsageError, first_line
from resvae_ray.extras import require

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9._-]+")


def is_hub_name(path: object) -> bool:
    """Whether `path` is `user/model` and no folder `user` is here: a mistyped path must not load a stranger's model."""
    return isinstance(path, str) and NAME.fullmatch(path) is not None and not Path(path).parent.exists()


def fetch(name: str, files: Sequence[str], revision: str | None = None) -> Path:
    """The folder with these files of a model on the hub, downloaded unless they are in the hub's cache.

    Args:
        revision: branch, tag or commit; by default the newest.

    Raises:
        DataError: no such model or revision.
        UsageError: the extra `hub` is not installed.
        JobError: the download failed.
    """
    require("hub", "huggingface_hub")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError

    try:
        return Path(snapshot_download(name, revision=revision, allow_patterns=list(files)))
    except RevisionNotFoundError:
        raise DataError(f"{name}: the hub has no revision {revision!r} of it") from None
    except RepositoryNotFoundError:
        raise DataError(
            f"{name}: no such folder, and no model of this name on the Hugging Face hub; for a private one, log in "
            "with `hf auth login` or set HF_TOKEN"
        ) from None
    except Exception as error:  # anything that the network and its libraries raise
        reason = first_line(error.__cause__ or error)
        raise JobError(f"{name}: no such folder, and the download from the Hugging Face hub failed: {reason}") from None


def send(folder: Path, name: str, files: Sequence[str], *, private: bool | None = None) -> str:
    """Uploads these files of a folder, as far as they exist, in one commit; returns its address.

    Args:
        private: whether a repository that does not exist yet is private; by default as its owner has set.

    Raises:
        UsageError: a name that the hub cannot have, a token that may not write there, or no extra `hub`.
        JobError: the upload failed.
    """
    require_hub_name(name)
    require("hub", "huggingface_hub")
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

    try:
        hub = HfApi()
        hub.create_repo(name, private=private, exist_ok=True)
        commit = hub.upload_folder(
            repo_id=name, folder_path=folder, allow_patterns=list(files), commit_message="Upload a Res-VAE"
        )
    except HfHubHTTPError as error:
        if error.response.status_code in (401, 403):
            raise UsageError(
                f"{name}: the hub refused ({first_line(error)}); log in with `hf auth login`, or set HF_TOKEN to a "
                "token that may write there"
            ) from None
        raise JobError(f"{name}: the hub refused: {first_line(error)}") from None
    except Exception as error:  # anything that the network and its libraries raise
        cause = error.__cause__ or error  # the client says "Error while uploading", and why below
        raise JobError(f"{name}: the upload to the Hugging Face hub failed: {first_line(cause)}") from None
    return str(commit.commit_url)


def require_hub_name(name: str) -> None:
    """
    Raises:
        UsageError: no model on the hub can have this name.
    """
    if not NAME.fullmatch(name):
        raise UsageError(f"{name}: no name on the Hugging Face hub; expected USER/MODEL, of letters, digits and . _ -")
