"""The services file: how tests say what the proxy should serve."""

import json
import os

PREFIX = "com.docker.lb."


def service(name, endpoints, labels=None, **short_labels):
    """One entry of a services file. `hosts="a.test"` is the label com.docker.lb.hosts; `labels` are taken as written.

    `endpoints`: ports on 127.0.0.1, "address:port" strings, or anything with a `.port`.
    """
    all_labels = {PREFIX + key: _text(value) for key, value in short_labels.items()}
    all_labels.update(labels or {})
    return {"name": name, "labels": all_labels, "endpoints": [_endpoint(each) for each in endpoints]}


def secured(secrets, name, endpoints, certificate, **short_labels):
    """A service whose certificate and key are one file of the secrets directory; that file is added to `secrets`."""
    secrets[f"{name}.pem"] = certificate.bundle
    return service(name, endpoints, ssl_cert=f"{name}.pem", **short_labels)


def write_atomically(path, content):
    """Replaces the file in one step, as editors and config mounts do. `content`: bytes, text, or a list of services."""
    if isinstance(content, list):
        content = json.dumps({"services": content}, indent=1)
    data = content.encode() if isinstance(content, str) else content
    draft = f"{path}.draft"
    with open(draft, "wb") as file:
        file.write(data)
    os.replace(draft, path)


def _text(value):
    return str(value).lower() if isinstance(value, bool) else str(value)


def _endpoint(value):
    if hasattr(value, "port"):
        value = value.port
    return f"127.0.0.1:{value}" if isinstance(value, int) else value
