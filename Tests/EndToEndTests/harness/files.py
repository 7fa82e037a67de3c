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
    """A service whose certificate and key are one file of the secrets directory; that file is added to `secrets`.

    Several certificates: one such file each, `NAME.pem`, `NAME-1.pem` and so on.
    """
    several = certificate if isinstance(certificate, (list, tuple)) else [certificate]
    names = [f"{name}-{index}.pem" if index else f"{name}.pem" for index in range(len(several))]
    secrets.update((file, each.bundle) for file, each in zip(names, several))
    return service(name, endpoints, ssl_cert=",".join(names), **short_labels)


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
