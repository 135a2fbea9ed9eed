"""Messages as the senders of today write them."""

import json
from typing import Any

SYNCHWEB = b'{"parameters":{"ispyb_process":4024}}'
WRAPPED = {"workflows-recipe": True}

VISIT = "/dls/i03/data/2018/cm19644-1"


def a_recipe(visit: str = VISIT, **parameters: Any) -> dict[str, Any]:
    """Return a message of zocalo's dispatcher: a recipe of one step, and what follows."""
    usual = {
        "ispyb_process": "4024",
        "working_directory": f"{visit}/scratch/thau_1/ab-12",
        "results_directory": f"{visit}/processed/thau/thau_1/ab-12",
        "program": "xia2 dials",
        "cmdline": "XIA2 DIALS (ap-zoc)",
        "environment": {"d_min": "1.8", "spacegroup": "P43212"},
        "rpid": "4024",
        "store_result": "ispyb_autoprocprogram_id",
        "timeout": 3600,
    }
    return {
        "environment": {"ID": "ab-12"},
        "payload": {},
        "recipe": {
            "1": {
                "queue": "limsflow.reprocess",
                "parameters": usual | parameters,
                "output": {"success": 2, "failure": [3]},
            },
            "2": {"queue": "trigger", "parameters": {"target": "dimple"}},
            "3": {"queue": "mail", "parameters": {}},
            "start": [[1, []]],
        },
        "recipe-path": [],
        "recipe-pointer": 1,
    }


def wrapped(message: dict[str, Any]) -> bytes:
    """Return the body of such a message."""
    return json.dumps(message).encode()
