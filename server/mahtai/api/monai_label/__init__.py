"""The protocol of MONAI Label, so that its clients can work with this server.

Their address is ``http://HOST:PORT/monailabel/TOKEN``: they fetch images without any header, so that the token stands
in the path. The gate takes it out again before anything sees the path (``api.gate``).
"""

from fastapi import APIRouter

from mahtai.api.monai_label import datastore, inference, info, labels, samples, sessions

router = APIRouter(include_in_schema=False)
for _part in (info, datastore, labels, samples, sessions, inference):
    router.include_router(_part.router)
