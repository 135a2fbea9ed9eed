"""What a LIMS may start over HTTP: one declaration for each deployment, and the body it takes.

The body of a request is made from the signature and the docstring of the flow, as Prefect makes
its form, so that the two never differ. A flow joins with one `Endpoint`. The table itself loads
no Prefect.
"""

import inspect
from functools import cache
from importlib import import_module
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, create_model

from blocks.record import Record

API = "/api/v1.0"
READ, CALL_BACK, OPERATE, ALL = "read", "call-back", "operate", "*"
SHORT, LONG = 256_000, 6_000_000  # bytes of a body; sequences have up to 5,000,000 letters
# Parameters that name a block, and nothing else when they come from a client: a URL in one would
# make the server open what the client chooses.
BLOCKS = frozenset({"ispyb", "entero", "database", "toolchain"})


class Endpoint(Record):
    """A deployment that a LIMS may start."""

    method: Literal["PUT", "POST"] = "POST"
    path: str
    flow: str = Field(description="its entrypoint, as in prefect.yaml")
    deployment: str = Field(default="default", description="name of it, without the flow's")
    right: str = Field(description="that a client needs")
    largest_body: int = Field(default=SHORT, description="bytes")
    free_text: frozenset[str] = Field(
        default=frozenset(),
        description="where an address may stand, because nobody opens it: dotted, without numbers",
    )

    @property
    def full_name(self) -> str:
        """What Prefect calls the deployment: flow/deployment."""
        return f"{self.flow.rpartition('.')[2].replace('_', '-')}/{self.deployment}"

    @property
    def function(self) -> Any:
        """The flow's own function."""
        return _function(self.flow)

    @property
    def body(self) -> type[BaseModel]:
        """What a request must hold: the flow's parameters, and nothing else."""
        return parameters_of(self.flow)


ENDPOINTS = (
    Endpoint(
        method="PUT",
        path=f"{API}/assemble",
        flow="flows.assemble_strain.assemble_strain",
        right="assemble",
    ),
    Endpoint(path=f"{API}/reprocess", flow="flows.reprocess_job.reprocess_job", right="reprocess"),
    Endpoint(path=f"{API}/type", flow="flows.type_assembly.type_assembly", right="type"),
    Endpoint(
        path=f"{API}/search",
        flow="flows.search_loci.search_loci",
        right="search",
        largest_body=LONG,
        free_text=frozenset({"sequences", "name"}),
    ),
    Endpoint(
        path=f"{API}/jobs",
        flow="flows.create_job.create_job",
        right="create-job",
        free_text=frozenset({"job.comments", "job.display_name"}),
    ),
    Endpoint(
        path=f"{API}/update-scheme",
        flow="flows.update_scheme.update_scheme",
        right="update-scheme",
    ),
    Endpoint(
        path=f"{API}/update-all-schemes",
        flow="flows.update_all_schemes.update_all_schemes",
        right="update-all-schemes",
    ),
    Endpoint(
        path=f"{API}/update-assemblies",
        flow="flows.update_assemblies.update_assemblies",
        right="update-assemblies",
    ),
)
RIGHTS = (*sorted({one.right for one in ENDPOINTS}), CALL_BACK, OPERATE, READ, ALL)


@cache
def parameters_of(flow: str) -> type[BaseModel]:
    """Return a model of a flow's parameters that refuses every other key.

    Args:
        flow: Its entrypoint. Types, bounds and defaults are its signature's, descriptions its
            docstring's, read by Prefect's own reader.
    """
    # A command that only lists rights does not need it.
    from prefect.utilities.callables import parameter_docstrings  # noqa: PLC0415 - loads Prefect

    function = _function(flow)
    described = parameter_docstrings(inspect.getdoc(function))
    fields = dict[str, Any]()
    for position, (name, one) in enumerate(_parameters(function).items()):
        field = Field(
            default=... if one.default is one.empty else one.default,
            title=name,
            description=described.get(name),
            json_schema_extra={"position": position},
        )
        fields[name] = (one.annotation, field)
    title = f"{flow.rpartition('.')[2]}_parameters"
    config = ConfigDict(extra="forbid", frozen=True, title=title)
    return create_model(title, __config__=config, **fields)


def _parameters(function: Any) -> dict[str, inspect.Parameter]:
    return dict(inspect.signature(function, eval_str=True).parameters)


def _function(flow: str) -> Any:
    module, _, name = flow.rpartition(".")
    return getattr(import_module(module), name).fn
