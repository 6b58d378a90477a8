"""Writes vectors.json: reference values of two published accountants.

python -m venv v && v/bin/pip install dp-accounting==0.4.4 scipy numpy
v/bin/pip install --no-deps opacus==1.5.2
v/bin/python vectors.py > vectors.json

Opacus is loaded from the file of its Renyi analysis, so that torch is not
needed.
"""

import importlib.metadata
import importlib.util
import json
import os

import dp_accounting
from dp_accounting.rdp import rdp_privacy_accountant as google


def opacus_rdp():
    root = importlib.metadata.distribution("opacus").locate_file("opacus")
    path = os.path.join(root, "accountants", "analysis", "rdp.py")
    spec = importlib.util.spec_from_file_location("opacus_rdp", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


opacus = opacus_rdp()
ORDERS = [1.1, 1.5, 1.75, 2, 2.5, 3, 4.3, 5, 7.7, 8, 10.9, 16, 32, 63, 128, 256, 512]
OPACUS_ORDERS = [1 + x / 10.0 for x in range(1, 100)] + list(range(12, 64))
out = {
    "versions": {n: importlib.metadata.version(n) for n in ("dp-accounting", "opacus", "numpy", "scipy")},
    "orders": ORDERS,
    "opacus_orders": OPACUS_ORDERS,
    "cases": [],
}
for sampling, q, noise, steps, delta in [
    ("none", 1.0, 1.0, 1, 1e-5),
    ("none", 1.0, 5.0, 100, 1e-6),
    ("none", 1.0, 0.7, 3, 1e-9),
    ("none", 1.0, 50.0, 10, 1e-3),
    ("poisson", 0.01, 1.0, 1000, 1e-5),
    ("poisson", 0.001, 0.6, 5000, 1e-6),
    ("poisson", 0.1, 1.5, 100, 1e-5),
    ("poisson", 256 / 60000, 1.1, 60 * 235, 1e-5),
    ("poisson", 0.5, 4.0, 20, 1e-7),
    ("poisson", 0.02, 8.0, 10000, 1e-5),
    ("without_replacement", 0.01, 2.0, 100, 1e-5),
    ("without_replacement", 0.1, 4.0, 50, 1e-6),
    ("without_replacement", 0.001, 1.0, 1000, 1e-5),
    ("without_replacement", 0.3, 10.0, 10, 1e-5),
]:
    event = dp_accounting.GaussianDpEvent(noise)
    relation = dp_accounting.NeighboringRelation.ADD_OR_REMOVE_ONE
    if sampling == "poisson":
        event = dp_accounting.PoissonSampledDpEvent(q, event)
    if sampling == "without_replacement":
        relation = dp_accounting.NeighboringRelation.REPLACE_ONE
        event = dp_accounting.SampledWithoutReplacementDpEvent(100000, round(q * 100000), event)
    accountant = google.RdpAccountant(ORDERS, relation).compose(event, steps)
    case = {
        "sampling": sampling, "rate": q, "noise": noise, "steps": steps, "delta": delta,
        "google_rdp": [float(x) for x in accountant._rdp],
        "google_epsilon": float(accountant.get_epsilon(delta)),
        "google_delta_at_1": float(accountant.get_delta(1.0)),
    }
    default = google.RdpAccountant(neighboring_relation=relation).compose(event, steps)
    case["google_default_epsilon"] = float(default.get_epsilon(delta))
    if sampling != "without_replacement":
        rdp = opacus.compute_rdp(q=q, noise_multiplier=noise, steps=steps, orders=OPACUS_ORDERS)
        case["opacus_rdp"] = [float(x) for x in rdp]
        case["opacus_epsilon"] = float(opacus.get_privacy_spent(orders=OPACUS_ORDERS, rdp=rdp, delta=delta)[0])
    out["cases"].append(case)
print(json.dumps(out, indent=1))
