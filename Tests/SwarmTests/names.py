"""Names that fixtures and tests share."""

IMAGE = "localhost:1/interlock:test"
NETWORK = "web"
