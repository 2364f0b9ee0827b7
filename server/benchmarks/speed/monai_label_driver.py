"""In MONAI Label's environment: its own client, as its Slicer module uses it, kept warm and timed.

The module (0.8.5) writes the volume to a ``.nii.gz`` file, uploads that with ``upload_image``, asks with ``infer`` and
reads the ``.nrrd`` file that it got. Writing the first and reading the second are not timed here.
"""

from __future__ import annotations

import time

from speed.talk import Answer, answer_all
from speed.wire import Wire


def main() -> None:
    """Answer ``connect`` once, then ``upload`` and ``infer``."""
    from monailabel.client import MONAILabelClient

    wire = Wire()
    clients: list[MONAILabelClient] = []

    def answer(question: Answer) -> Answer:
        if question["do"] == "connect":
            clients[:] = [MONAILabelClient(question["url"], question["folder"])]
            return {"models": list(clients[0].info()["models"])}
        client, before, began = clients[0], wire.traffic, time.perf_counter()
        made: Answer = {}
        if question["do"] == "upload":
            client.upload_image(question["file"], question["id"])
        else:
            params = {"device": question["device"], "result_extension": ".nrrd"}
            labels, said = client.infer("tumours", question["id"], params)
            made = {"labels": labels, "latencies_s": said["latencies"]}
        seconds, traffic = time.perf_counter() - began, wire.traffic - before
        return {**made, "wall_s": seconds, "sent_bytes": traffic.sent, "received_bytes": traffic.received}

    answer_all(answer)


if __name__ == "__main__":
    main()
