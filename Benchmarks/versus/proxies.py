"""The proxies of the comparison: how each is configured and started.

Every proxy gets one worker (one thread, one process that moves bytes), keep-alive on both sides, reuse of
upstream connections, no access log, and X-Forwarded-For. Interlock keeps all its defaults: it also writes
X-Forwarded-Proto, -Host, -Port, X-Real-IP, X-Request-ID and Via, which haproxy and nginx are spared.
`haproxy-equal` and `nginx-equal` are the same programs asked to write the same header fields.
"""

import dataclasses
import json
import os
import pathlib
import shutil
from typing import Callable


@dataclasses.dataclass(frozen=True)
class Proxy:
    """One program under test."""

    name: str
    #: (work directory, port to listen on, second port, backend port) -> (command, extra environment)
    prepare: Callable[[pathlib.Path, int, int, int], tuple[list[str], dict[str, str]]]
    #: The program that must exist, or None.
    needs: str | None


HAPROXY = """
global
    nbthread 1
    maxconn 4096
defaults
    mode http
    timeout connect 5s
    timeout client 60s
    timeout server 60s
    timeout http-keep-alive 60s
    option http-keep-alive
    option forwardfor
    http-reuse always
frontend entry
    bind 127.0.0.1:{port}
{fields}
    default_backend web
backend web
    server task 127.0.0.1:{backend} maxconn 1024 pool-max-conn 1024
"""

HAPROXY_EQUAL_FIELDS = """
    http-request set-header X-Forwarded-Proto http
    http-request set-header X-Forwarded-Host %[req.hdr(host)]
    http-request set-header X-Forwarded-Port %[dst_port]
    http-request set-header X-Real-IP %[src]
    http-request set-header Via "1.1 haproxy"
    unique-id-format %[uuid()]
    unique-id-header X-Request-ID
    http-response set-header X-Request-ID %[unique-id]
    http-response set-header Via "1.1 haproxy"
"""

NGINX = """
{user}
daemon off;
worker_processes 1;
pid {directory}/nginx.pid;
error_log stderr warn;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    client_max_body_size 0;
    keepalive_timeout 60s;
    keepalive_requests 100000000;
    upstream web {{
        server 127.0.0.1:{backend};
        keepalive 1024;
        keepalive_requests 100000000;
    }}
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass http://web;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Host $host;
            proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
{fields}
        }}
    }}
}}
"""

NGINX_EQUAL_FIELDS = """
            proxy_set_header X-Forwarded-Proto $scheme;
            proxy_set_header X-Forwarded-Host $host;
            proxy_set_header X-Forwarded-Port $server_port;
            proxy_set_header X-Real-IP $remote_addr;
            proxy_set_header Via "1.1 nginx";
            proxy_set_header X-Request-ID $request_id;
            add_header X-Request-ID $request_id;
            add_header Via "1.1 nginx";
"""

NGINX_STREAM_FIELDS = """
            proxy_buffering off;
            proxy_request_buffering off;
"""


def _haproxy(fields: str) -> Callable:
    def prepare(directory, port, _, backend):
        path = directory / "haproxy.cfg"
        path.write_text(HAPROXY.format(port=port, backend=backend, fields=fields))
        return ["haproxy", "-db", "-f", str(path)], {}

    return prepare


def _nginx(fields: str) -> Callable:
    def prepare(directory, port, _, backend):
        path = directory / "nginx.conf"
        # Started by root, the worker stays root: it writes its temporary files into the work directory.
        user = "user root;" if os.getuid() == 0 else ""
        path.write_text(NGINX.format(user=user, directory=directory, port=port, backend=backend, fields=fields))
        return ["nginx", "-p", str(directory), "-e", "stderr", "-c", str(path)], {}

    return prepare


def _floor(binaries: pathlib.Path) -> Callable:
    return lambda directory, port, _, backend: ([str(binaries / "floor"), str(port), str(backend)], {})


def _interlock(binary: pathlib.Path) -> Callable:
    def prepare(directory, port, admin, backend):
        services = directory / "services.json"
        labels = {"com.docker.lb.hosts": "web.test", "com.docker.lb.default_backend": "true"}
        service = {"name": "web", "labels": labels, "endpoints": [f"127.0.0.1:{backend}"]}
        services.write_text(json.dumps({"services": [service]}))
        return [str(binary)], {
            "INTERLOCK_HTTP_LISTEN": f"127.0.0.1:{port}",
            "INTERLOCK_HTTPS_LISTEN": "off",
            "INTERLOCK_ADMIN_LISTEN": f"127.0.0.1:{admin}",
            "INTERLOCK_DOCKER": "off",
            "INTERLOCK_WORKERS": "1",
            "INTERLOCK_SERVICES_FILE": str(services),
            "INTERLOCK_STATE_DIR": str(directory / "state"),
        }

    return prepare


def known(binaries: pathlib.Path, interlock: pathlib.Path) -> dict[str, Proxy]:
    """All proxies by name; the order is the order of the first round."""
    proxies = [
        Proxy("floor", _floor(binaries), None),
        Proxy("haproxy", _haproxy(""), "haproxy"),
        Proxy("nginx", _nginx(""), "nginx"),
        Proxy("interlock", _interlock(interlock), str(interlock)),
        Proxy("haproxy-equal", _haproxy(HAPROXY_EQUAL_FIELDS), "haproxy"),
        Proxy("nginx-equal", _nginx(NGINX_EQUAL_FIELDS), "nginx"),
        Proxy("nginx-stream", _nginx(NGINX_STREAM_FIELDS), "nginx"),
    ]
    return {proxy.name: proxy for proxy in proxies}


def is_there(proxy: Proxy) -> bool:
    """Whether the program of this proxy can be started here."""
    return proxy.needs is None or shutil.which(proxy.needs) is not None
