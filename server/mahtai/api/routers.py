"""All that the API answers, one router a resource."""

from __future__ import annotations

from mahtai.api import (
    accounts,
    audit,
    cases,
    drafts,
    foreign_sign_in,
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
    sign_in,
    trainings,
    volumes,
)

ROUTERS = tuple(
    resource.router
    for resource in (
        health,
        sign_in,
        foreign_sign_in,
        accounts,
        audit,
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
