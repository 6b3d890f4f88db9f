"""What the tests share that train."""

from tiny_runs import curves_once  # noqa: F401
