"""All that the API answers, one router a resource."""

from __future__ import annotations

from mahtai.api import (
    cases,
    drafts,
    health,
    inferences,
    labels,
    leases,
    model_versions,
    models,
    monai_label,
    preparations,
    reference,
    reviews,
    scores,
    trainings,
    volumes,
)

ROUTERS = tuple(
    resource.router
    for resource in (
        health,
        models,
        model_versions,
        trainings,
        volumes,
        preparations,
        inferences,
        leases,  # its /v1/cases/next comes before /v1/cases/{case}
        cases,
        labels,
        drafts,
        reviews,
        scores,
        monai_label,
        reference,
    )
)
