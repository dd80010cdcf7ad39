"""Exit status 0 where a worker can do its work: its broker and its database answer.

A ping would not do: a worker does one thing at a time and is silent while it is busy. That its process lives
is the container's business, and a job that a worker no longer renews the lease of goes to another one.
"""

from __future__ import annotations

import sys

from arena.contracts import DreamarenaError
from arena.store import Store
from workers.launch import broker_of
from workers.settings import load_settings


def main() -> int:
    try:
        settings = load_settings()
        if settings.broker_url is None:
            raise DreamarenaError("DREAMARENA_BROKER_URL is not set: a worker without a broker gets nothing to do")
        broker_of(settings.broker_url).waiting()
        Store(settings.store_url).close()
    except DreamarenaError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
