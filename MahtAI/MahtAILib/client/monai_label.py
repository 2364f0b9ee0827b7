"""A running MONAI Label server as a source of models that segment one volume.

Its protocol: https://docs.monai.io/projects/label/en/latest/appsuite.html, ``GET /info/`` and ``POST /infer/{model}``.
The volume travels with the question, so that nothing of it stays in that server's collection of images.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlsplit

import numpy as np
import requests
from urllib3.exceptions import HTTPError

from MahtAILib.client import nifti, nrrd
from MahtAILib.client.address import clean_url, is_loopback
from MahtAILib.client.background import Cancelled, OnProgress, Task, run_cancellable
from MahtAILib.client.diagnosis import explain_failure
from MahtAILib.client.errors import ClientError
from MahtAILib.client.geometry import Geometry, GeometryError
from MahtAILib.client.labelmaps import LONGEST_NAME, bytes_colour, ids, names_by_value, segmentation_of, shown
from MahtAILib.client.login import Bearer
from MahtAILib.client.multipart import MultipartBody, MultipartError, MultipartReader, Part, PartHeader
from MahtAILib.client.segmentation import Segmentation
from MahtAILib.client.study import StudyVolume

TOLERANCE_MM = 0.01
"""NIfTI keeps where voxels lie as float32."""

_PREFIX = "monailabel:"
_INFO_BYTES = 4 << 20
_MOST_MODELS = 500
_SPARE_BYTES = 1 << 20
_BYTES_A_VOXEL = 8
_CHUNK = 1 << 16
_SAID_BYTES = 1 << 14
_NOTHING = "Nothing was changed."


class MonaiLabelError(ClientError):
    """What answers is no MONAI Label server, could not do it, or gave a result that cannot be used."""

    kind = "monai-label"


@dataclass(frozen=True)
class MonaiLabelResult:
    """What such a server made of a volume.

    Attributes:
        segmentation: on the volume's grid.
        seconds: from the question to the end of the answer.
    """

    segmentation: Segmentation
    seconds: float


class MonaiLabelServer:
    """Requests to one MONAI Label server, from any thread. Its address may have a path, which nobody is shown.

    Attributes:
        url: scheme, host and port. where: host and port.
        is_local: on this computer.

    Raises:
        BadAddressError: the address cannot be read.
    """

    def __init__(self, address: str, *, connect_timeout_s: float = 5.0, inference_timeout_s: float = 900.0) -> None:
        self._address = clean_url(address)
        parts = urlsplit(self._address)
        self.url, self.where, self.path = f"{parts.scheme}://{parts.netloc}", parts.netloc, parts.path
        self.is_local = is_loopback(self._address)
        self._timeouts = (connect_timeout_s, inference_timeout_s)
        self._session = requests.Session()
        # a proxy from the environment would swallow requests to this very computer
        self._session.trust_env = not self.is_local

    @property
    def source(self) -> str:
        """Where its models come from, for the reader."""
        return f"MONAI Label at {self.where}"

    def close(self) -> None:
        """Give back the sockets that are kept open."""
        self._session.close()

    def models(self, task: str) -> tuple[dict[str, Any], ...]:
        """Its models that segment a volume without any clicks, described as ours are.

        Args:
            task: for which they are offered; such a server does not say.

        Raises:
            ClientError: it does not answer, or is none.
        """
        timeouts = (self._timeouts[0], 30.0)
        _, body = self._answer("GET", "/info/", None, timeouts, _INFO_BYTES, Task())
        document = self._json(body)
        listed = document.get("models") if isinstance(document, dict) else None
        if not isinstance(listed, dict):
            raise self._no_server("it does not list any models at /info/")
        return tuple(
            self._model(str(name), about, task)
            for name, about in list(listed.items())[:_MOST_MODELS]
            if isinstance(about, dict) and _segments_alone(str(name), about)
        )

    def segment(
        self,
        model: Mapping[str, Any],
        volume: StudyVolume,
        name: str = "image",
        on_progress: OnProgress | None = None,
        cancelled: Cancelled | None = None,
    ) -> MonaiLabelResult:
        """Send a volume, wait for the model, and bring its labels onto the volume's grid.

        Args:
            model: one of ``models``.
            name: of the volume for that server, such as its sequence.
            on_progress: stage, fraction 0..1, None.
            cancelled: stops waiting within two seconds. The protocol has no way to stop that server's work.

        Raises:
            CancelledError: ``cancelled`` said so.
            NiftiError: the volume cannot be written.
            MonaiLabelError: the server could not, or its result cannot be used; the words say why.
            ClientError: it could not be reached.
        """
        return run_cancellable(lambda task: self._segment(model, volume, name, task), on_progress, cancelled)

    def _segment(self, model: Mapping[str, Any], volume: StudyVolume, name: str, task: Task) -> MonaiLabelResult:
        began = time.monotonic()
        task.report("hashing")
        array = volume.array.copy(order="K") if volume.is_shared else volume.array
        geometry = Geometry(array.shape, volume.ijk_to_ras)
        params = json.dumps({"result_extension": ".nrrd", "result_dtype": "uint8"}).encode()
        file = memoryview(nifti.encode(array, volume.ijk_to_ras))
        pieces = [file[start : start + _CHUNK] for start in range(0, len(file), _CHUNK)]
        form = MultipartBody(
            [
                Part("params", [params], "application/json"),
                Part("file", pieces, "application/octet-stream", f"{re.sub(r'[^A-Za-z0-9_-]', '_', name)}.nii.gz"),
            ]
        )
        most = _SPARE_BYTES + _BYTES_A_VOXEL * array.size
        path = f"/infer/{quote(str(model['id']).removeprefix(_PREFIX), safe='')}?image="
        content_type, body = self._answer("POST", path, _Sending(form, task), self._timeouts, most, task)
        params, labels = self._parts(content_type, body)
        said = self._json(params)
        names = said.get("label_names") if isinstance(said, dict) else None
        stated = {int(label["label_value"]): str(label["name"]) for label in model["labels"]}
        segmentation = self._result(labels, geometry, names_by_value(names) or stated)
        return MonaiLabelResult(segmentation, time.monotonic() - began)

    def _model(self, name: str, about: Mapping[str, Any], task: str) -> dict[str, Any]:
        names = names_by_value(about.get("labels"))
        labels = [
            {
                "id": one,
                "name": names[value],
                "label_value": value,
                "color_rgb": list(bytes_colour(value)),
                "codes": {},
            }
            for value, one in ids(names).items()
        ]
        return {
            "id": f"{_PREFIX}{name}",
            "name": name,
            "version": "",
            "description": shown(about.get("description")),
            "task": task,
            "kind": "segmentation",
            "state": "ready",
            "channels": [{"id": "image", "name": "Image", "description": "One volume"}],
            "labels": labels,
            "missing_channels_ok": False,
            "source": self.source,
        }

    def _result(self, data: bytes, reference: Geometry, names: Mapping[int, str]) -> Segmentation:
        try:
            volume = nrrd.decode(data, int(np.prod(reference.shape)))
            array = volume.array
            fits = array.ndim == 3 and Geometry(array.shape, volume.ijk_to_ras).same_grid(reference, TOLERANCE_MM)
        except (nrrd.NrrdError, GeometryError) as error:
            raise self._unusable(f"its file cannot be read ({error})") from error
        if not fits:
            raise self._unusable("it lies on another voxel grid than the volume that was sent")
        segmentation = segmentation_of(array, reference, names)
        if segmentation is None:
            raise self._unusable("its voxels are no labels")
        return segmentation

    def _answer(
        self, method: str, path: str, body: _Sending | None, timeouts: tuple[float, float], most: int, task: Task
    ) -> tuple[str, bytes]:
        """Content type and body of a successful answer, which never grows beyond ``most`` bytes."""
        headers = {"Accept-Encoding": "identity", **({} if body is None else {"Content-Type": body.content_type})}
        try:
            with self._session.request(
                method,
                self._address + path,
                data=body,  # type: ignore[arg-type]
                headers=headers,
                timeout=timeouts,
                auth=Bearer(""),
                stream=True,
                allow_redirects=False,
            ) as response:
                is_good = response.status_code == 200
                whole = bytearray()
                if response.headers.get("Content-Encoding", "identity") != "identity":
                    raise self._unusable("it is compressed, which nobody asked for")
                for piece in response.raw.stream(_CHUNK, decode_content=False):
                    task.check()
                    whole += piece
                    if not is_good and len(whole) > _SAID_BYTES:
                        break
                    if len(whole) > most:
                        raise self._unusable("it is far larger than it can be")
                if not is_good:
                    raise self._refusal(response.status_code, bytes(whole))
                return response.headers.get("Content-Type", ""), bytes(whole)
        except (requests.RequestException, HTTPError, OSError) as error:
            told = explain_failure(error, self.url)
            words = (text.replace("MahtAI server", "MONAI Label server") for text in (told.reason, told.hint))
            raise type(told)(*words) from error

    def _parts(self, content_type: str, body: bytes) -> tuple[bytes, bytes]:
        """What is said of the result, and its file."""
        found: list[tuple[PartHeader, bytearray]] = []
        try:
            reader = MultipartReader(content_type)
            for event in reader.feed(body):
                if isinstance(event, PartHeader):
                    found.append((event, bytearray()))
                else:
                    found[-1][1].extend(event)
            reader.finish()
        except MultipartError as error:
            raise self._unusable(f"its form cannot be read: {error.reason}") from error
        said = next((data for header, data in found if header.file_name is None and header.name == "params"), b"{}")
        files = [data for header, data in found if header.file_name is not None]
        if len(files) != 1:
            raise self._unusable(f"it holds {len(files)} files instead of one")
        return bytes(said), bytes(files[0])

    def _json(self, body: bytes) -> Any:
        try:
            return json.loads(body)
        except (ValueError, RecursionError) as error:
            raise self._no_server("its answer is not JSON") from error

    def _no_server(self, observation: str) -> MonaiLabelError:
        return MonaiLabelError(
            f"What answers at {self.where} is not a MONAI Label server: {observation}.",
            "Check the address; MONAI Label usually listens at port 8000.",
        )

    def _unusable(self, observation: str) -> MonaiLabelError:
        return MonaiLabelError(
            f"The result of the MONAI Label server at {self.where} cannot be used: {observation}. {_NOTHING}",
            "Choose another model, or tell the person who runs that server.",
        )

    def _refusal(self, status: int, body: bytes) -> MonaiLabelError:
        try:
            document = json.loads(body)
        except (ValueError, RecursionError):
            document = None
        said = document.get("detail") if isinstance(document, dict) else None
        words = f" It says: {shown(said)}" if isinstance(said, str) and said.strip() else ""
        if status in (401, 403):
            return MonaiLabelError(
                f"The MONAI Label server at {self.where} wants a login (HTTP {status}).{words}",
                "Servers with a login of their own are not supported; ask the person who runs it for an open one.",
            )
        return MonaiLabelError(
            f"The MONAI Label server at {self.where} could not do it (HTTP {status}). {_NOTHING}{words}",
            "Choose another volume or model, or look into that server's log.",
        )


@dataclass
class _Sending:
    """A form on its way, which stops when the task does."""

    form: MultipartBody
    task: Task
    content_type: str = field(init=False)

    def __post_init__(self) -> None:
        self.content_type = self.form.content_type

    def __len__(self) -> int:
        return len(self.form)

    def __iter__(self) -> Iterator[bytes | memoryview]:
        sent, total = 0, len(self)
        for piece in self.form:
            self.task.check()
            self.task.report("uploading", sent / total)
            yield piece
            sent += len(piece)
        self.task.report("predicting")


def _segments_alone(name: str, about: Mapping[str, Any]) -> bool:
    """Whether a model takes one 3-D volume and nothing else."""
    kind = str(about.get("type", "")).lower()
    return kind == "segmentation" and about.get("dimension", 3) == 3 and 0 < len(name) <= LONGEST_NAME
